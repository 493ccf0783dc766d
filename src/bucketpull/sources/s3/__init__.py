"""S3 and the services that speak its protocol: listed page by page in the order of keys, each object a signed GET."""
