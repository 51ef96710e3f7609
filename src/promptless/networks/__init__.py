"""Networks (torch): the prompt generator's U-Net and the SAM family at any size."""
