"""Mean cosines: of synthetic with real images, and of images with a description.

Both are unbiased, and both reward copies.
"""

import numpy as np
from jaxtyping import Float

from flowerti.metrics.checks import checked, checked_sets, unit_rows


def image_similarity(x: Float[np.ndarray, "num_x dim_x"], y: Float[np.ndarray, "num_y dim_y"]) -> float:
    """Mean cosine over all pairs of two sets: DINO-I and CLIP-I (Ruiz et al. 2023, arXiv 2208.12242, section 5).

    The mean over pairs is the inner product of the two sets' mean unit vectors.

    Raises:
        ValueError: a feature vector is zero, or as `kernel_distance`.
    """
    x, y = checked_sets(x=x, y=y)
    # mean_ij u_i . v_j = (mean_i u_i) . (mean_j v_j)
    return float(unit_rows("x", x).mean(axis=0) @ unit_rows("y", y).mean(axis=0))


def text_similarity(
    image_features: Float[np.ndarray, "num dim"], text_feature: Float[np.ndarray, " dim_text"]
) -> float:
    """Mean cosine of images with one description: CLIP-T (Ruiz et al. 2023, section 5).

    Raises:
        ValueError: widths differ, a vector is zero, or as `kernel_distance`.
    """
    images = checked("image_features", image_features)
    if images.shape[1] != len(text_feature):
        raise ValueError(
            f"text_feature: width {len(text_feature)} beside {images.shape[1]}; use the text tower of the same model"
        )
    text = unit_rows("text_feature", text_feature.astype(np.float64)[None])[0]
    # mean_i u_i . t: [num, dim] x [dim] -> [num]
    return float((unit_rows("image_features", images) @ text).mean())
