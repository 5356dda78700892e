"""Video files, images and folders of images to frames, and frames to an mp4 or a contact sheet."""
