"""Dictionary transforms that MONAI lacks, one subject a file."""
