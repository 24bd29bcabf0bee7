"""Where pictures, annotations and motion come from: readers of files, and LightningDataModules over them.

Readers check what they read and name the file that is wrong. Datamodules split by sequence, never by frame, and give
the typed batches of `mpose3d.sample`.
"""
