"""Tables of cases: a row is a request or an input image, with the place of its result and whether that is done."""
