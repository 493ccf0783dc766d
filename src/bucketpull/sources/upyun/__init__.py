"""UPYUN (又拍云): listed by its REST API, fetched from its CDN domain."""
