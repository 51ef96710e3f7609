"""One file per data set; each yields `Sample`s."""
