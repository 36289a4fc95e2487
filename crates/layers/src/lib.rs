//! Layers (tar, whiteouts) to a file tree to a rootfs image, and tree differences back to a layer.
