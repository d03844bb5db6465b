"""What a row is: a request or an input image, where its result is written, and what is done already."""
