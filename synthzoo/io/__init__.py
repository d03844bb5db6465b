"""Files, and nothing above them: volumes, images, videos, tables, each written whole or not at all."""
