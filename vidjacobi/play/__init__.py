"""A local page on which a world model runs while it is watched, acted in, forked and rewound."""
