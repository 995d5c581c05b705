"""What unites the losses of a family: the words at the head of its page."""

FAMILIES: dict[str, str] = {
    "distribution": (
        "Each voxel is judged by itself: the loss is a function of the probability given to its true class, "
        "averaged over the voxels. Weights, focusing and sorting differ in which voxels count most; where a voxel "
        "lies plays no part."
    ),
    "region": (
        "Prediction and ground truth are compared as whole sets, one ratio of overlap per image and class. "
        "Everything is a function of a few sums: of the probabilities, of the labels and of their product. A class "
        "therefore counts as much as any other, however few voxels it has, and a voxel's gradient depends on all "
        "the others."
    ),
    "boundary": (
        "What counts is the distance between two contours, or how much of one lies close to the other. An error "
        "far from the contour costs more than one beside it, or an error beside it is singled out. Many of these "
        "losses are added to one of the region or the distribution family, since a contour alone does not say "
        "which side is inside."
    ),
    "shape": (
        "The predicted set is judged by properties such as size, length, convexity, moments or the energy of its "
        "contour, which may come from the image or from prior knowledge in place of a full annotation."
    ),
    "topology": (
        "Connected pieces, holes and branches are compared instead of voxels. A break of one voxel in a thin "
        "vessel hardly changes the overlap but changes the topology, and these losses put their gradient there. "
        "Most are added to an overlap or a cross-entropy loss."
    ),
    "structural": (
        "Voxels are judged together with their neighbourhood: windows, pairs and regions of voxels are compared, "
        "so that the structure of the label map counts and not only the label of each voxel."
    ),
    "compound": (
        "Sums, products and schedules of losses of the other families, where a paper proposes the combination "
        "itself. The parts share one pass over the logits."
    ),
    "measures": (
        "Not losses: what a segmentation is scored with. They take logits like a loss, decide for the most "
        "probable class and have no gradient."
    ),
}
