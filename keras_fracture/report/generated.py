"""What generated images are measured by, in words."""

MEASURES = {
    "kid": "KID (kernel distance), lower is better",
    "fid": "FID (Fréchet distance), lower is better",
    "precision": "precision: share of generated images that look real",
    "recall": "recall: share of real images the generator could draw",
    "density": "density",
    "coverage": "coverage",
    "ms_ssim": "MS-SSIM between images of the set, lower is more diverse",
    "copies_pixels": "near copies, by pixels",
    "copies_features": "near copies, by features",
}
