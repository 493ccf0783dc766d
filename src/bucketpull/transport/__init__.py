"""Ways between a coordinator and its workers, and between a worker and its processes."""
