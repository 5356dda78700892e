"""A batch's futures in the format of another project: ``vidjacobi export``. From the bottom up:

source          what the dataset that a batch was made of says beside its pictures
lerobot_source  a LeRobot dataset as such a source, with the rows of its data files
bridge_source   Bridge as such a source, with the states and actions of its annotations
opening         which of them a batch has, and its episodes
fed_columns     the actions that futures were made with, as a column
statistics      minimum, maximum, mean, deviation and quantiles as LeRobot nests them
videos          the pictures: the batch's mp4 files copied, or encoded as the source's are
tables          the parquet and JSON files
lerobot_set     a whole LeRobot v3.0 dataset
"""
