"""From images to persistence images, diagrams or Betti curves on disk: what `persistill topology` does."""
