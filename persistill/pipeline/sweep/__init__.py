"""Settings of a recipe, varied: many trials, of which the best on validation images is run whole."""
