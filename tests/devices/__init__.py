"""What sessions keep of the browsers that have them."""
