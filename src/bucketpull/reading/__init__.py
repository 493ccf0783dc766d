"""Reading back by key what lies on volumes, in files and packs alike: from Python, over HTTP, and as a file system of fsspec."""
