"""Pictures on their way out: scaled to the size that was asked for."""

import asyncio
import base64
import io

from PIL import Image

from edgegen.serve.wire import NATIVE_SIDE


async def at_side(png: bytes, side: int) -> bytes:
    """Return a picture with this many pixels per side; what has its native size already goes out as it is."""
    return png if side == NATIVE_SIDE else await asyncio.to_thread(_scaled, png, side)


async def text_at_side(png_b64: str, side: int) -> str:
    """Return a base64 picture at another size."""
    if side == NATIVE_SIDE:
        return png_b64
    return base64.b64encode(await at_side(base64.b64decode(png_b64), side)).decode()


def _scaled(png: bytes, side: int) -> bytes:
    target = io.BytesIO()
    with Image.open(io.BytesIO(png)) as picture:
        picture.resize((side, side), Image.Resampling.LANCZOS).save(target, format="PNG", compress_level=1)
    return target.getvalue()
