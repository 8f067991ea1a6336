"""Hostile data files: false sizes, bombs, and links out of the folder."""

import gzip
import io
import os
import pickle
import shutil
import struct
import zipfile
import zlib

import numpy as np
from PIL import Image

from tests.hostile.corpus import Evil, case, continue_stream, idx

GOOD = {
    "x_train": np.zeros((6, 4, 5), np.uint8),
    "y_train": np.arange(6) % 3,
    "x_test": np.zeros((6, 4, 5), np.uint8),
    "y_test": np.arange(6) % 3,
}


# --- IDX ---------------------------------------------------------------------------------


@case("load_data", "file holds fewer")
def idx_of_more_images_than_there_are(box):
    return box.idx(images=idx((60_000, 28, 28), bytes(100)))


@case("load_data", "file holds fewer")
def idx_of_gigantic_dimensions(box):
    return box.idx(images=idx([2**32 - 1] * 3, bytes(100)))


@case("load_data", "more follow|file holds fewer")
def idx_whose_product_overflows(box):
    return box.idx(images=idx((2**31, 2**31, 4), bytes(100)))


@case("load_data", "expected at least one value")
def idx_of_no_images_of_gigantic_size(box):
    return box.idx(images=idx((0, 2**32 - 1, 2**32 - 1), b""))


@case("load_data", "more follow")
def idx_with_a_tail(box):
    return box.idx(images=idx((6, 4, 5), bytes(120)) + pickle.dumps({}))


@case("load_data", "damaged or truncated")
def idx_that_ends_in_its_header(box):
    return box.idx(images=idx((6, 4, 5), b"")[:9])


@case("load_data", "would unpack to")
def idx_that_is_a_bomb(box):
    content = idx((300_000, 28, 28), bytes(300_000 * 28 * 28))
    return box.idx(images=gzip.compress(content, 9))


@case("load_data", "more follow")
def idx_followed_by_a_bomb(box):
    return box.idx(images=gzip.compress(idx((6, 4, 5), bytes(300 << 20)), 1))


@case("load_data", "more follow|damaged or truncated")
def idx_of_many_bombs_in_one_file(box):
    return box.idx(images=gzip.compress(idx((6, 4, 5), bytes(50 << 20)), 1) * 20)


@case("load_data", "damaged or truncated")
def idx_of_truncated_gzip(box):
    return box.idx(images=gzip.compress(idx((6, 4, 5), bytes(120)))[:-12])


@case("load_data", "damaged or truncated|got 0x")
def idx_of_gzip_that_is_noise(box):
    return box.idx(images=b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + b"\xff" * 500)


@case("load_data", "magic number")
def idx_of_gzip_in_gzip(box):
    return box.idx(images=gzip.compress(gzip.compress(idx((6, 4, 5), bytes(120)))))


@case("load_data", "magic number")
def pickle_under_the_name_of_idx(box):
    return box.idx(images=pickle.dumps(np.zeros(3)))


@case("load_data", "expected train-images")
def pipe_under_the_name_of_idx(box):
    folder = box.idx()
    (folder / "train-images-idx3-ubyte").unlink()
    os.mkfifo(folder / "train-images-idx3-ubyte")
    return folder


@case("load_data", "links out of")
def idx_that_is_a_link_out(box):
    folder = box.idx()
    (folder / "train-labels-idx1-ubyte").unlink()
    (folder / "train-labels-idx1-ubyte").symlink_to(box.secret)
    return folder


@case("load_data", "expected train-images")
def idx_that_is_a_link_to_itself(box):
    folder = box.idx()
    (folder / "train-images-idx3-ubyte").unlink()
    (folder / "train-images-idx3-ubyte").symlink_to("train-images-idx3-ubyte")
    return folder


# --- npz ---------------------------------------------------------------------------------


def npz(box, compression=zipfile.ZIP_STORED, **changes):
    """Write an archive of arrays; a change is an array, or the bytes of the member."""
    with zipfile.ZipFile(box.inside / "data.npz", "w", compression) as archive:
        for key, value in (GOOD | changes).items():
            buffer = io.BytesIO()
            if isinstance(value, np.ndarray):
                np.save(buffer, value)
            archive.writestr(f"{key}.npy", buffer.getvalue() or value)
    return box.inside / "data.npz"


def npy(header, content=b""):
    """Return a `.npy` file with this header."""
    text = header.encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


def claiming(shape, dtype="|u1"):
    return npy(f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}\n", bytes(9))


@case("load_data", "Python objects")
def npz_of_pickled_objects(box):
    return npz(box, x_train=np.array([Evil(box.mark)] * 6, object))


@case("load_data", "expected an .npz archive|Python objects")
def npz_of_pickles_in_fields(box):
    return npz(box, y_train=np.array([(1, Evil(box.mark))] * 6, [("a", int), ("b", object)]))


@case("load_data", "expected an .npz archive")
def npz_that_is_a_pickle(box):
    (box.inside / "data.npz").write_bytes(pickle.dumps(Evil(box.mark)))
    return box.inside / "data.npz"


@case("load_data", "file holds fewer")
def npz_of_a_shape_larger_than_its_data(box):
    return npz(box, x_train=claiming((10**6, 10**6)))


@case("load_data", "file holds fewer")
def npz_of_a_shape_beyond_64_bits(box):
    return npz(box, x_train=claiming((10**30, 10**30)))


@case("load_data", "shape|expected an .npz archive")
def npz_of_a_negative_shape(box):
    return npz(box, x_train=claiming((-1, 4, 5)))


@case("load_data", "expected an .npz archive")
def npz_of_a_header_of_code(box):
    return npz(box, x_train=npy("__import__('canary_module').run()\n"))


@case("load_data", "expected an .npz archive")
def npz_of_a_header_nested_deep(box):
    return npz(box, x_train=npy("(" * 9000 + ")" * 900 + "\n"))


@case("load_data", "expected an .npz archive")
def npz_of_a_header_of_megabytes(box):
    text = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1,)}" + b" " * (8 << 20)
    return npz(box, x_train=b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text)) + text)


@case("load_data", "expected an .npz archive")
def npz_of_a_missing_header(box):
    return npz(box, x_train=b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1) + b"{")


@case("load_data", "would unpack to")
def npz_that_is_a_bomb(box):
    return npz(box, zipfile.ZIP_DEFLATED, x_train=np.zeros((300_000, 28, 28), np.uint8))


@case("load_data", "expected a member that is stored or deflated")
def npz_packed_by_bzip2(box):
    return npz(box, zipfile.ZIP_BZIP2, x_train=np.zeros((3000, 28, 28), np.uint8))


@case("load_data", "expected a member that is stored or deflated")
def npz_packed_by_lzma(box):
    return npz(box, zipfile.ZIP_LZMA, x_train=np.zeros((3000, 28, 28), np.uint8))


@case("load_data", None, "only the good arrays are read")
def npz_followed_by_a_bomb(box):
    return continue_stream(npz(box), "x_train.npy")


@case("load_data", None, "only the good arrays are read")
def npz_with_a_second_member_of_nearly_the_same_name(box):
    path = npz(box)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x_train", bytes(100 << 20))
    return continue_stream(path, "x_train")


@case("load_data", "missing y_test")
def npz_without_a_key(box):
    path = npz(box)
    with zipfile.ZipFile(path, "w") as archive:
        for key in list(GOOD)[:3]:
            buffer = io.BytesIO()
            np.save(buffer, GOOD[key])
            archive.writestr(f"{key}.npy", buffer.getvalue())
    return path


@case("load_data", "expected labels below")
def npz_of_a_label_of_billions(box):
    return npz(box, y_train=np.array([0, 1, 2, 0, 1, 2**62]))


@case("load_data", "expected labels below")
def npz_of_a_label_beyond_signed_integers(box):
    return npz(box, y_test=np.array([0, 1, 2, 0, 1, 2**64 - 1], np.uint64))


@case("load_data", "labels from 0")
def npz_of_a_label_below_zero(box):
    return npz(box, y_train=np.array([0, 1, 2, 0, 1, -(2**62)]))


@case("load_data", "expected an .npz archive")
def npz_of_noise(box):
    content = bytearray(npz(box).read_bytes())
    noise = np.random.default_rng(1)
    for place in noise.integers(0, len(content), 300):
        content[place] = noise.integers(256)
    (box.inside / "data.npz").write_bytes(bytes(content))
    return box.inside / "data.npz"


@case("load_data", "no such file or folder")
def pipe_under_the_name_of_npz(box):
    os.mkfifo(box.inside / "data.npz")
    return box.inside / "data.npz"


# --- Pictures ----------------------------------------------------------------------------


def png(*chunks, width=5, height=4, depth=8, colour=0):
    """Return a PNG with additional chunks."""

    def chunk(kind, content):
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    rows = zlib.compress(bytes((width + 1) * height)) if width * height < 1e6 else b""
    parts = [(b"IHDR", header), *chunks, (b"IDAT", rows), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def picture(content):
    """Return a function that writes a folder of pictures, one of them with this content."""

    def write(box):
        box.pictures().write_bytes(content)
        return box.inside

    return write


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@case("load_data", "pixels")
def picture_of_a_hundred_million_pixels(box):
    rows = zlib.compress(bytes(13_001 * 13_000), 9)
    content = png(width=13_000, height=13_000)
    content = content[:33] + content[33:].replace(
        struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT")),
        struct.pack(">I", len(rows))
        + b"IDAT"
        + rows
        + struct.pack(">I", zlib.crc32(b"IDAT" + rows)),
    )
    return picture(content)(box)


@case("load_data", "pixels|decompression bomb")
def picture_that_claims_four_billion_pixels(box):
    return picture(png(width=2**16, height=2**16))(box)


@case("load_data", "like .*; got|would unpack to")
def pictures_that_are_bombs_together(box):
    box.pictures()
    content = saved(Image.fromarray(np.zeros((4000, 4000, 3), np.uint8)), "PNG")
    for number in range(30):
        for part in ("train", "test"):
            (box.inside / part / "cat" / f"{number}.png").write_bytes(content)
    for part in ("train", "test"):
        for label in ("cat", "dog"):
            (box.inside / part / label / "a.png").write_bytes(content)
    return box.inside


@case("load_data", "cannot be read as a picture")
def picture_with_a_text_that_is_a_bomb(box):
    text = b"Comment\0\0" + zlib.compress(bytes(200 << 20), 9)
    return picture(png((b"zTXt", text)))(box)


@case("load_data", "cannot be read as a picture")
def picture_with_a_profile_that_is_a_bomb(box):
    profile = b"profile\0\0" + zlib.compress(bytes(200 << 20), 9)
    return picture(png((b"iCCP", profile)))(box)


@case("load_data", "scans")
def picture_of_thousands_of_scans(box):
    noise = np.random.default_rng(0).integers(0, 256, (4, 5), np.uint8)
    content = saved(Image.fromarray(noise), "JPEG", progressive=True)
    scan = content[content.rindex(b"\xff\xda") : content.rindex(b"\xff\xd9")]
    box.pictures().with_suffix(".jpg").write_bytes(content[:-2] + scan * 5000 + content[-2:])
    return box.inside


@case("load_data", "scans")
def picture_of_thousands_of_scans_that_holds_others(box):
    """Pillow calls this format MPO, although it begins like any JPEG."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 5), np.uint8))
    content = saved(noise, "MPO", save_all=True, append_images=[noise], progressive=True)
    end = content.index(b"\xff\xd9")
    scan = content[content.rindex(b"\xff\xda", 0, end) : end]
    box.pictures().with_suffix(".jpg").write_bytes(content[:end] + scan * 5000 + content[end:])
    return box.inside


@case("load_data", "expected an uncompressed BMP")
def picture_of_empty_run_length_lines(box):
    """A kilobyte that Pillow unpacks one pixel at a time."""
    colours = bytes(256 * 4)
    rows = b"\x01\x05\x00\x00" * 2
    start = 54 + len(colours)
    header = b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start)
    header += struct.pack("<IiiHHIIiiII", 40, 1 << 23, 2, 1, 8, 1, len(rows), 0, 0, 256, 0)
    box.pictures().with_suffix(".bmp").write_bytes(header + colours + rows)
    return box.inside


@case("load_data", "APP1 segments")
def picture_of_thousands_of_app1_segments(box):
    """Pillow joins them, and copies all of them each time."""
    content = saved(Image.fromarray(np.zeros((4, 5), np.uint8)), "JPEG")
    notes = b"\xff\xe1\x00\x10Exif\0\0abcdefgh" * 200_000
    box.pictures().with_suffix(".jpg").write_bytes(content[:2] + notes + content[2:])
    return box.inside


@case("load_data", "cannot be read as a picture")
def truncated_picture(box):
    return picture(png()[:44])(box)


@case("load_data", "cannot be read as a picture")
def picture_of_another_format_than_its_name(box):
    return picture(saved(Image.fromarray(np.zeros((4, 5), np.uint8)), "TIFF"))(box)


@case("load_data", "cannot be read as a picture")
def postscript_under_the_name_of_a_picture(box):
    return picture(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 4\n(%pipe%touch x) (w) file\n")(
        box
    )


@case("load_data", "cannot be read as a picture")
def page_under_the_name_of_a_picture(box):
    return picture(b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>")(box)


@case("load_data", "expected one picture; the file holds 3")
def moving_picture(box):
    frames = [Image.fromarray(np.full((4, 5), 70 * i, np.uint8)) for i in range(3)]
    return picture(saved(frames[0], "PNG", save_all=True, append_images=frames[1:]))(box)


@case("load_data", "cannot be read as a picture")
def moving_picture_of_another_format(box):
    frames = [Image.fromarray(np.full((4, 5), 70 * i, np.uint8)) for i in range(3)]
    return picture(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]))(box)


@case("load_data", "8 bits a channel")
def picture_of_sixteen_bits(box):
    return picture(saved(Image.fromarray(np.zeros((4, 5), np.uint16)), "PNG"))(box)


@case("load_data", "in grey, like .*; got .* in colour")
def picture_with_a_palette(box):
    grey = Image.fromarray(np.zeros((4, 5), np.uint8))
    return picture(saved(grey.convert("P"), "PNG"))(box)


@case("load_data", "links out of")
def picture_that_is_a_link_out(box):
    (box.outside / "private.png").write_bytes(png())
    box.pictures().symlink_to(box.outside / "private.png")
    return box.inside


@case("load_data", "links out of")
def label_that_is_a_link_out(box):
    box.pictures()
    for part in ("train", "test"):
        (box.outside / part).mkdir()
        (box.outside / part / "private.png").write_bytes(png())
        (box.inside / part / "elk").symlink_to(box.outside / part)
    return box.inside


@case("load_data", "links out of")
def part_that_is_a_link_out(box):
    """The names of folders outside must not be shown either."""
    box.pictures()
    (box.outside / box.token).mkdir()
    (box.outside / "other").mkdir()
    shutil.rmtree(box.inside / "train")
    (box.inside / "train").symlink_to(box.outside)
    return box.inside


@case("load_data", "links out of")
def label_that_is_a_link_to_names(box):
    box.pictures()
    (box.outside / f"{box.token}.txt").write_text("x")
    for part in ("train", "test"):
        (box.inside / part / "aaa").symlink_to(box.outside)
    return box.inside


@case("load_data", "cannot be read")
def picture_that_is_a_link_to_itself(box):
    box.pictures().symlink_to("b.png")
    return box.inside


@case("load_data", "would unpack to")
def pictures_that_are_links_to_one(box):
    noise = np.random.default_rng(0).integers(0, 4, (1024, 1024, 3), np.uint8)
    first = box.pictures()
    content = saved(Image.fromarray(noise), "PNG")
    for part in ("train", "test"):
        for label in ("cat", "dog"):
            (box.inside / part / label / "a.png").write_bytes(content)
    for number in range(400):
        (first.parent / f"c{number:03}.png").symlink_to("a.png")
    return box.inside


@case("load_data", "links out of|cannot be read")
def picture_that_is_a_link_to_the_secret(box):
    box.pictures().symlink_to(box.secret)
    return box.inside


@case("load_data", "this is not a regular file|links out of")
def picture_that_is_endless(box):
    box.pictures().symlink_to("/dev/zero")
    return box.inside


@case("load_data", "this is not a regular file")
def picture_that_is_a_pipe(box):
    os.mkfifo(box.pictures())
    return box.inside


@case("load_data", "this is not a regular file")
def picture_that_is_a_folder(box):
    box.pictures().mkdir()
    return box.inside


@case("load_data", "expected .* images; got none|at least one value|cannot be read")
def picture_without_pixels(box):
    return picture(png(width=0, height=0))(box)
