"""What the commands do, as functions of Python; ``persistill`` gives them lazily, the command line calls them."""
