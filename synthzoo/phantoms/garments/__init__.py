"""Phantoms of garments: pictures of tops of a known neckline and sleeve, with the mask of each part."""
