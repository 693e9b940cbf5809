"""Pixels of JPEG, PNG, TIFF, BMP and WebP, refusals, and the processes that decode."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medzoo.data.formats.decoding import make_decoder, read_header, read_pixels
from medzoo.data.formats.peek import peek_header
from medzoo.data.formats.quiet import keep_quiet, refuse_broken
from medzoo.data.formats.raster import describe_raster
from medzoo.data.formats.workers import ReaderProcesses
from medzoo.data.reading import Reading, Window
from medzoo.errors import DataError

Write = Callable[..., Path]


def encode(values: np.ndarray | Image.Image, format_name: str, **options: object) -> bytes:
    """Write values or an image to a file's bytes."""
    image = values if isinstance(values, Image.Image) else Image.fromarray(values)
    image.save(file := BytesIO(), format_name, **options)  # type: ignore[arg-type]
    return file.getvalue()


def noise(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    """Draw noise over all values of a type of whole numbers."""
    return np.random.default_rng(1).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


@pytest.mark.parametrize("format_name", ["PNG", "BMP", "TIFF"])
def test_eight_bits_stay_as_they_are(format_name: str) -> None:
    grey, colour = noise(7, 5), noise(7, 5, 3)
    content = encode(grey, format_name)
    assert read_pixels(content, "a", Reading(1)).tolist() == grey[..., None].tolist()
    assert read_pixels(content, "a", Reading(3)).tolist() == np.repeat(grey[..., None], 3, -1).tolist()
    content = encode(colour, format_name)
    assert read_pixels(content, "a", Reading(3)).tolist() == colour.tolist()
    luminance = np.asarray(Image.fromarray(colour).convert("L"))
    assert read_pixels(content, "a", Reading(1)).tolist() == luminance[..., None].tolist()


def test_webp_is_read_in_colour() -> None:
    colour = noise(7, 5, 3)
    content = encode(colour, "WEBP", lossless=True)
    assert read_pixels(content, "a", Reading(3)).tolist() == colour.tolist()
    assert read_header(content, "a", Reading()).channels == 3


@pytest.mark.parametrize("mode", ["LA", "RGBA", "PA"])
def test_alpha_is_dropped(mode: str) -> None:
    colour = Image.fromarray(noise(7, 5, 3)).convert("L" if mode == "LA" else "P" if mode == "PA" else "RGB")
    clear = colour.convert(mode)
    clear.putalpha(Image.fromarray(noise(7, 5)))
    found = read_pixels(encode(clear, "TIFF" if mode == "PA" else "PNG"), "a", Reading(3))
    assert found.tolist() == np.asarray(colour.convert("RGB")).tolist()


@pytest.mark.parametrize("format_name", ["PNG", "TIFF"])
def test_sixteen_bits_keep_their_fractions(format_name: str) -> None:
    stored = noise(7, 5, dtype=np.uint16)
    pixels = read_pixels(encode(stored, format_name), "a", Reading(1))
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels[..., 0], stored / 257, rtol=1e-6)
    window = Reading(windows=(Window(1000, 2000), Window(30000, 500)))
    windowed = read_pixels(encode(stored, format_name), "a", window)
    assert windowed.shape == (7, 5, 2)
    np.testing.assert_allclose(windowed[..., 0], np.clip(stored / 2000, 0, 1) * 255, atol=1e-3)


def test_a_tiff_whose_zero_is_white_is_turned() -> None:
    stored = noise(7, 5, dtype=np.uint16)
    content = encode(stored, "TIFF", tiffinfo={262: 0})
    np.testing.assert_allclose(read_pixels(content, "a", Reading(1))[..., 0], 255 - stored / 257, atol=1e-3)


def test_values_in_units_of_their_own_go_from_the_lowest_to_the_highest_or_by_windows() -> None:
    stored = np.linspace(-1000, 3000, 35).astype(np.float32).reshape(7, 5)
    content = encode(stored, "TIFF")
    np.testing.assert_allclose(
        read_pixels(content, "a", Reading(1))[..., 0], (stored + 1000) / 4000 * 255, atol=1e-3
    )
    lung = read_pixels(content, "a", Reading(windows=(Window(-600, 1500),)))
    np.testing.assert_allclose(lung[..., 0], np.clip((stored + 1350) / 1500, 0, 1) * 255, atol=1e-3)
    whole = encode(stored.astype(np.int32), "TIFF")
    np.testing.assert_allclose(
        read_pixels(whole, "a", Reading(1)), read_pixels(content, "a", Reading(1)), atol=0.1
    )
    assert (
        read_header(content, "a", Reading()).depth == read_header(whole, "a", Reading()).depth == "own units"
    )


def make_pages(*pages: np.ndarray) -> bytes:
    """Write the pages of a TIFF."""
    images = [Image.fromarray(page) for page in pages]
    return encode(images[0], "TIFF", save_all=True, append_images=images[1:])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pages_of_a_tiff_are_chosen(dtype: type) -> None:
    pages = noise(4, 7, 5, dtype=dtype)
    content = make_pages(*pages)
    expected = pages[..., None] / (257 if dtype is np.uint16 else 1)
    for frame, page in (("first", 0), ("middle", 2), (3, 3)):
        np.testing.assert_allclose(read_pixels(content, "a", Reading(frame=frame)), expected[page], rtol=1e-6)
    volume = read_pixels(content, "a", Reading(frame="all"))
    np.testing.assert_allclose(volume, expected, rtol=1e-6)
    assert read_header(content, "a", Reading(frame="all")).size == (4, 7, 5)
    with pytest.raises(DataError, match="'a' has no frame 4: it has 4"):
        read_header(content, "a", Reading(frame=4))


def test_pages_of_different_sizes_need_a_choice() -> None:
    content = make_pages(noise(8, 8), noise(4, 4))
    assert read_pixels(content, "a", Reading(frame="first")).shape == (8, 8, 1)
    for read in (read_header, read_pixels):
        with pytest.raises(
            DataError, match=r"'a' has 2 pages of different sizes or kinds.*try --frame first"
        ):
            read(content, "a", Reading())


def test_a_single_picture_is_a_volume_of_one() -> None:
    content = encode(noise(7, 5), "PNG")
    assert read_pixels(content, "a", Reading(frame="all")).shape == (1, 7, 5, 1)
    header = read_header(content, "a", Reading(frame="all"))
    assert header.size == (1, 7, 5)
    assert not header.in_graph  # TensorFlow would give it no depth


@pytest.mark.parametrize("read", [read_header, read_pixels])
@pytest.mark.parametrize(
    ("content", "reading", "message"),
    [
        (b"", Reading(), "'a.png' is empty; expected a JPEG, PNG, TIFF, BMP, WebP, DICOM or NIfTI image"),
        (b"nonsense", Reading(), "cannot read 'a.png'; expected a JPEG"),
        (
            encode(Image.new("CMYK", (4, 4)), "JPEG"),
            Reading(),
            r"'a.png' has 4 channels \(CMYK\); expected 1 \(grey\)",
        ),
        (encode(Image.new("LAB", (4, 4)), "TIFF"), Reading(), r"has 3 channels \(LAB\)"),
        (encode(noise(4, 4), "GIF"), Reading(), "cannot read 'a.png'"),
        (
            encode(noise(4, 4), "PNG"),
            Reading(windows=(Window(0, 1),)),
            "8-bit or colour pixels.*leaving out --window",
        ),
        (encode(noise(4, 4, 3), "TIFF"), Reading(windows=(Window(0, 1),)), "8-bit or colour pixels"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(
    read: Callable[..., object], content: bytes, reading: Reading, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(content, "a.png", reading)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    for source, message in (
        (tmp_path / "gone.png", "no file"),
        (tmp_path, "cannot read"),
        (Path("a\0b"), "not a path"),
    ):
        with pytest.raises(DataError, match=message):
            read_pixels(source, "a.png", Reading())


@pytest.mark.parametrize("format_name", ["PNG", "TIFF", "BMP", "JPEG", "WEBP"])
def test_broken_bytes_end_in_a_data_error_or_an_image(format_name: str) -> None:
    content = encode(noise(16, 16, 3), format_name)
    rng = np.random.default_rng(7)
    refused = []
    for _ in range(150):
        broken = bytearray(content[: rng.integers(1, len(content) + 1)] if rng.random() < 0.5 else content)
        for place in rng.integers(0, min(len(broken), 200), rng.integers(0, 4)):
            broken[place] = rng.integers(256)
        for read in (read_header, read_pixels):
            try:
                read(bytes(broken), "a", Reading(3))
            except DataError as error:
                refused.append(str(error))
    assert len(refused) > 50
    assert all(message.count("'a'") == 1 for message in refused)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK", "YCbCr"])
@pytest.mark.parametrize("format_name", ["PNG", "JPEG"])
def test_first_bytes_say_what_pillow_says(mode: str, format_name: str) -> None:
    image = Image.new(mode, (13, 7))
    try:
        content = encode(image, format_name)
    except OSError:
        pytest.skip(f"{format_name} holds no {mode}")
    peeked = peek_header(content[:4096])
    if mode == "CMYK":
        assert peeked is None
        return
    assert peeked == describe_raster(content, "a", Reading())
    assert all(peek_header(content[:cut]) in (None, peeked) for cut in range(len(content)))
    if format_name == "PNG":  # its header carries a checksum
        assert peek_header(content[:18] + b"\1" + content[19:]) is None


def test_remarks_say_what_is_lost() -> None:
    exif = Image.Exif()
    exif[274] = 6
    turned = read_header(encode(noise(8, 4, 3), "JPEG", exif=exif.tobytes()), "a", Reading())
    assert turned.remark == "carry an EXIF orientation, which is not applied"
    assert turned.size == (8, 4)
    exif[274] = 1
    assert read_header(encode(noise(8, 4, 3), "JPEG", exif=exif.tobytes()), "a", Reading()).remark == ""


def test_processes_give_what_this_one_does(write_image: Write, tmp_path: Path) -> None:
    paths = [write_image(f"{number}.bmp", "RGB", (31, 17 + number), seed=number) for number in range(9)]
    sources = [path if number % 2 else path.read_bytes() for number, path in enumerate(paths)]
    names = [path.name for path in paths]
    here = make_decoder(Reading(3), 0)(sources, names)
    processes = ReaderProcesses(Reading(3), 2)
    with ThreadPoolExecutor(3) as threads:
        for there in threads.map(lambda _: processes(sources, names), range(3)):
            assert all(np.array_equal(*pair) for pair in zip(here, there, strict=True))
    paths[3].write_bytes(b"x")
    with pytest.raises(DataError, match=r"cannot read '3\.bmp'"):
        processes(sources, names)
    faults = processes.check([*sources, tmp_path / "gone"], [*names, "gone"])
    assert [position for position, fault in enumerate(faults) if fault] == [3, 9]
    process = processes._idle.get()
    process._process.kill()  # as a decoder that crashes would
    processes._idle.put(process)
    answers = [processes.check(sources[:1], names[:1])[0] for _ in range(6)]
    assert sorted(str(answer) for answer in answers)[0].startswith(
        "'0.bmp' ended the process that decoded it"
    )
    assert answers.count(None) == 5  # another process took its place
    processes.close()


def test_workers_start_from_a_script_without_guard_and_load_no_tensorflow(tmp_path: Path) -> None:
    """`multiprocessing` would run such a script again in every process."""
    image = tmp_path / "a.png"
    Image.new("L", (3, 2), 7).save(image)
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from medzoo.data.formats.decoding import make_decoder\n"
        "from medzoo.data.reading import Reading\n"
        "print('once')\n"
        f"print(make_decoder(Reading(), 2)([Path({str(image)!r})], ['a'])[0].shape)\n"
        "print(sorted({'tensorflow', 'keras', 'pydicom', 'nibabel'} & set(sys.modules)))\n"
    )
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert run.stdout == "once\n(2, 3, 1)\n[]\n"
    assert run.stderr == ""


def test_quiet_lasts_until_the_last_thread_has_left() -> None:
    before = list(warnings.filters)
    inside, leave = threading.Barrier(2), threading.Event()

    def stay() -> None:
        with keep_quiet():
            inside.wait()
            leave.wait()

    thread = threading.Thread(target=stay)
    with keep_quiet():
        thread.start()
        inside.wait()
    with warnings.catch_warnings(record=True) as caught:
        warnings.warn("a patient's name", stacklevel=1)
    assert not caught
    assert logging.getLogger("pydicom").disabled
    leave.set()
    thread.join()
    assert warnings.filters == before
    assert not logging.getLogger("pydicom").disabled


def test_what_a_library_says_of_a_file_is_not_passed_on() -> None:
    name = "Doe^Jane"
    with pytest.raises(DataError, match=r"^cannot decode 'a' \(ValueError\); expected an image") as refusal:  # noqa: SIM117
        with refuse_broken("a", "an image"):
            raise ValueError(name)
    assert name not in "".join(traceback.format_exception(refusal.value))
