"""Names in a folder laid out like VOC, which both the VOC reader and every run folder follow."""

MASKS, IMAGES, LISTS = "SegmentationClass", "JPEGImages", "ImageSets"
CLASSES = "classes.txt"
