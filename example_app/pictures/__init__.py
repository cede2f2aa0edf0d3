"""The pictures in docs/pictures of what the example does; `make pictures` renews them."""
