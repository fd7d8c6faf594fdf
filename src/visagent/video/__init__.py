"""Videos: decoding, segment sampling, transforms, the layouts of data sets, and synthetic actions written in each of
them.
"""
