"""Few-shot image classification: Section 5.2 of the paper, Tables 1 and 3, over any registered data set."""
