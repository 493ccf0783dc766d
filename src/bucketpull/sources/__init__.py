"""Dialects of object storage: how each lists, signs and answers. Pure; none of them sees a socket."""
