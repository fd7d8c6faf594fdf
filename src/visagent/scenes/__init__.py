"""Scene dumps: the HDF5 format, checks, views, and the generator of the embedded rooms."""
