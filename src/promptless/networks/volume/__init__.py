"""AutoProSAM (arXiv 2308.14936): SAM's image encoder inflated to volumes, prompted by a dense map it makes itself."""
