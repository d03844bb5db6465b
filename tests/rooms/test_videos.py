"""Video files: round trip, files and codecs of other programs, and every way in which a file can be wrong."""

import struct
import time
from io import BytesIO

import av
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from synthzoo.errors import UserError
from synthzoo.io.videos import avi_bytes, open_video, read_video, write_avi


@pytest.fixture(scope="module")
def speckle():
    """A wedge of moving speckle, float32 (12, 112, 112) in [0, 1], black outside."""
    noise = gaussian_filter(np.random.default_rng(0).normal(size=(12, 112, 112)), (0.5, 1, 1.5))
    y, x = np.mgrid[:112, :112]
    return (np.clip(np.abs(noise) * 4, 0, 1) * (np.abs(x - 56) < y * 0.8)).astype(np.float32)


def jpeg(picture, mode="RGB", **settings):
    buffer = BytesIO()
    Image.fromarray(picture).convert(mode).save(buffer, "JPEG", **{"quality": 75, **settings})
    return buffer.getvalue()


def chunk(name, data, pad=True):
    return name + struct.pack("<I", len(data)) + data + (b"\0" if pad and len(data) % 2 else b"")


def headers(count, size, rate=50, codec=b"MJPG", scale=1, channels=3, stream=b"vids", more=b"", inside=b""):
    """LIST hdrl with the fields that OpenCV's writer fills in."""
    height, width = size
    avih = struct.pack(
        "<14I", round(1e6 * scale / max(rate, 1)), 99999999, 0, 0x910, count, 0, 1, 1 << 20, width, height, *[0] * 4
    )
    strh = stream + codec + struct.pack("<9Ii", 0, 0, 0, scale, rate, 0, count, 1 << 20, 2**32 - 1, 0)
    strh += struct.pack("<4h", 0, 0, width, height)
    strf = struct.pack(
        "<IiiHH4sIiiII", 40, width, height, 1, 8 * channels, codec, width * height * channels, 0, 0, 0, 0
    )
    strl = chunk(b"LIST", b"strl" + chunk(b"strh", strh) + chunk(b"strf", strf) + inside)
    return chunk(b"LIST", b"hdrl" + chunk(b"avih", avih) + strl + more)


def opencv(jpegs, size, rate=50, channels=3):
    """The bytes of a file as OpenCV's MJPG writer lays them out: odml list, JUNK up to byte 4096, idx1 at the end."""
    odml = chunk(b"LIST", b"odml" + chunk(b"dmlh", struct.pack("<II", len(jpegs), 0)))
    head = headers(len(jpegs), size, rate, channels=channels, more=odml)
    junk = chunk(b"JUNK", bytes(4096 - 12 - len(head) - 8))
    movi, index = b"movi", b""
    for data in jpegs:
        data += bytes(-len(data) % 4)  # it fills up to four bytes within the chunk
        index += struct.pack("<4sIII", b"00dc", 0x10, len(movi), len(data))
        movi += chunk(b"00dc", data)
    return chunk(b"RIFF", b"AVI " + head + junk + chunk(b"LIST", movi) + chunk(b"idx1", index))


def places(data):
    """Where the JPEG of each frame begins."""
    found, at = [], data.find(b"00dc")
    while at >= 0 and at < data.index(b"idx1"):
        found.append(at + 8)
        at = data.find(b"00dc", at + 8)
    return found


def saved(folder, data, name="x.avi"):
    (folder / name).write_bytes(data)
    return folder / name


def test_a_round_trip_keeps_the_grey_levels_the_rate_and_the_bytes(speckle, tmp_path):
    path = tmp_path / "deep" / "a.avi"
    write_avi(path, torch.from_numpy(speckle)[None], 29.97)
    video = read_video(path)
    assert video.frames.shape == speckle.shape and video.frames.dtype == np.uint8
    assert video.fps == pytest.approx(29.97, abs=1e-9)
    assert np.abs(video.frames - 255 * speckle).mean() <= 2 and not video.frames[:, 5, :40].any()
    assert [entry.name for entry in path.parent.iterdir()] == ["a.avi"]
    write_avi(tmp_path / "b.avi", np.rint(speckle * 255).astype(np.uint8), 29.97)
    assert (tmp_path / "b.avi").read_bytes() == path.read_bytes()
    info = open_video(path)
    assert (info.count, info.height, info.width) == (12, 112, 112)


def test_the_header_says_what_other_programs_read(speckle):
    data = avi_bytes(np.rint(speckle * 255).astype(np.uint8), 32)
    assert len(data) == 8 + struct.unpack("<I", data[4:8])[0] and data[8:16] == b"AVI LIST"
    avih = data.index(b"avih") + 8
    assert struct.unpack("<14I", data[avih : avih + 56])[::4] == (31250, 12, 112, 0)
    strh = data.index(b"strh") + 8
    assert data[strh : strh + 8] == b"vidsMJPG" and struct.unpack("<I", data[strh - 4 : strh])[0] == 56
    assert struct.unpack("<II", data[strh + 20 : strh + 28]) == (1000, 32000)
    strf = data.index(b"strf") + 8
    assert struct.unpack("<IiiHH4s", data[strf : strf + 20]) == (40, 112, 112, 1, 24, b"MJPG")
    movi, index = data.index(b"movi"), data.index(b"idx1")
    for number in range(12):
        name, flags, offset, length = struct.unpack("<4sIII", data[index + 8 + 16 * number :][:16])
        assert (name, flags) == (b"00dc", 0x10) and data[movi + offset :][:4] == b"00dc"
        frame = data[movi + offset + 8 :][:length]
        assert frame[:2] == b"\xff\xd8" and frame[-2:] == b"\xff\xd9"
    picture = Image.open(BytesIO(frame))
    assert picture.mode == "RGB" and [layer[1:3] for layer in picture.layer] == [(1, 1)] * 3  # chroma at full size


@pytest.mark.parametrize("mode, subsampling", [("RGB", 2), ("RGB", 0), ("L", -1)])
def test_a_file_laid_out_as_opencv_does_is_read(speckle, tmp_path, mode, subsampling):
    frames = np.rint(speckle * 255).astype(np.uint8)
    jpegs = [jpeg(frame, mode, subsampling=subsampling) for frame in frames]
    data = opencv(jpegs, (112, 112), 47, channels=len(mode))
    assert data[4096 - 8 :].startswith(b"\0") and data[4096:4100] == b"LIST"
    video = read_video(saved(tmp_path, data))
    assert video.fps == 47 and np.abs(video.frames.astype(float) - frames).mean() < 6


def test_the_tables_that_cameras_leave_out_are_the_standard_ones(speckle, tmp_path):
    picture = np.rint(speckle[3] * 255).astype(np.uint8)
    whole = jpeg(picture, "L")
    bare, at = whole, whole.find(b"\xff\xc4")
    while at >= 0:
        bare = bare[:at] + bare[at + 2 + int.from_bytes(bare[at + 2 : at + 4], "big") :]
        at = bare.find(b"\xff\xc4")
    video = read_video(saved(tmp_path, opencv([whole, bare], (112, 112))))
    assert np.array_equal(video.frames[0], video.frames[1])


def test_other_streams_indices_lists_paddings_and_segments_are_passed_over(speckle, tmp_path):
    """Sound before the picture's stream, ix00 and rec lists, an unpadded and an over-padded chunk, a second RIFF."""
    jpegs = [jpeg(np.rint(frame * 255).astype(np.uint8)) for frame in speckle]
    jpegs = [data + bytes(1 - len(data) % 2) for data in jpegs]  # all odd
    strh = b"auds" + struct.pack("<4I", 0, 0, 0, 0) + struct.pack("<7I", 1, 8000, 0, 0, 0, 0, 1) + bytes(8)
    sound = chunk(
        b"LIST", b"strl" + chunk(b"strh", strh) + chunk(b"strf", struct.pack("<HHIIHH", 1, 1, 8000, 8000, 1, 8))
    )
    inner = headers(12, (112, 112), inside=chunk(b"indx", bytes(32)))
    avih, strl = inner[12 : 12 + 64], inner[12 + 64 :]
    head = chunk(b"LIST", b"hdrl" + avih + sound + strl)
    info = chunk(b"LIST", b"INFO" + chunk(b"ISFT", b"abc"))
    frame = [chunk(b"01dc", data) for data in jpegs]
    movi = b"movi" + chunk(b"ix01", bytes(24)) + chunk(b"00wb", b"12345") + frame[0]
    movi += chunk(b"01dc", jpegs[1], pad=False) + chunk(b"01dc", jpegs[2], pad=False)
    movi += chunk(b"LIST", b"rec " + frame[3] + chunk(b"00wb", bytes(8)) + frame[4]) + frame[5] + bytes(7)
    movi += frame[6] + chunk(b"01dc", b"") + frame[7]
    first = chunk(b"RIFF", b"AVI " + head + info + chunk(b"LIST", movi) + chunk(b"idx1", bytes(16)))
    second = chunk(b"RIFF", b"AVIX" + chunk(b"LIST", b"movi" + b"".join(frame[8:])))
    path = saved(tmp_path, first + second + b"\0\0appended by somebody")
    found = read_video(path).frames
    expected = [0, 1, 2, 3, 4, 5, 6, 6, 7, 8, 9, 10, 11]  # an empty chunk repeats the frame before it
    plain = read_video(saved(tmp_path, opencv(jpegs, (112, 112)), "y.avi")).frames
    assert np.array_equal(found, plain[expected])


def test_chosen_frames_are_read_in_the_order_requested(speckle, tmp_path):
    write_avi(tmp_path / "x.avi", speckle, 10)
    whole = read_video(tmp_path / "x.avi").frames
    assert np.array_equal(read_video(tmp_path / "x.avi", [7, 2, 7]).frames, whole[[7, 2, 7]])
    with pytest.raises(UserError, match="frames 0 to 11, but frame 12 is requested"):
        read_video(tmp_path / "x.avi", [12])


def test_colour_is_refused_or_averaged_and_a_tinge_is_grey(speckle, tmp_path):
    grey = np.rint(speckle[:2] * 200).astype(np.uint8)
    tinge = np.stack([grey, grey + 2, grey + 3], axis=-1)
    path = saved(tmp_path, opencv([jpeg(frame, quality=95) for frame in tinge], (112, 112)))
    assert np.abs(read_video(path).frames.astype(float) - grey).mean() < 4
    doppler = np.stack([grey, grey, grey], axis=-1)
    doppler[:, 40:60, 40:60, 0] = 250
    path = saved(tmp_path, opencv([jpeg(frame) for frame in doppler], (112, 112)))
    with pytest.raises(UserError, match="frame 0 at byte 4116 is in colour, but a grey video is needed"):
        read_video(path)
    assert np.abs(read_video(path, colour="average").frames - doppler.mean(axis=-1)).mean() < 6


def test_a_damaged_frame_is_named_by_its_byte(speckle, tmp_path):
    jpegs = [jpeg(np.rint(frame * 255).astype(np.uint8)) for frame in speckle]
    whole = opencv(jpegs, (112, 112))
    at = places(whole)
    scan = whole.index(b"\xff\xda", at[5])
    for place, harm in [(at[5], b"\0\0"), (scan, b"\0\0"), (scan + 60, b"\xff\xe7\xff\xe7"), (at[6] - 40, bytes(32))]:
        data = whole[:place] + harm + whole[place + len(harm) :]
        with pytest.raises(UserError, match=rf"x.avi: frame 5 at byte {at[5]} is a damaged JPEG") as caught:
            read_video(saved(tmp_path, data))
        assert "\n" not in str(caught.value)
        assert len(read_video(tmp_path / "x.avi", range(5)).frames) == 5  # the others are there


def test_a_file_that_is_cut_anywhere_is_refused_with_the_byte_where_it_ends(speckle, tmp_path):
    jpegs = [jpeg(np.rint(frame * 255).astype(np.uint8)) for frame in speckle[:4]]
    whole = opencv(jpegs, (112, 112))
    at = places(whole)
    for cut in (at[2] + 100, at[2] - 8, len(whole) - 20):
        with pytest.raises(UserError, match=f"claims {len(whole)} bytes, but the file ends at byte {cut}"):
            open_video(saved(tmp_path, whole[:cut]))
    for cut in [*range(1, 300, 7), *range(300, len(whole) - 8, 997)]:
        with pytest.raises(UserError, match="x.avi"):
            read_video(saved(tmp_path, whole[:cut]))
    unfinished = whole[:4] + bytes(4) + whole[8 : at[2] + 100]  # the recording stopped before the length was written
    assert open_video(saved(tmp_path, unfinished)).count == 2


def test_headers_that_lie_about_sizes_take_no_memory(speckle, tmp_path):
    picture = jpeg(np.rint(speckle[0] * 255).astype(np.uint8))
    honest = read_video(saved(tmp_path, opencv([picture], (112, 112)))).frames
    boasting = opencv([picture], (30000, 30000)).replace(struct.pack("<I", 1 << 20), b"\xff" * 4)
    boasting = boasting.replace(
        struct.pack("<4sIII", b"dmlh", 8, 1, 0), struct.pack("<4sIII", b"dmlh", 8, 2**32 - 1, 0)
    )
    assert np.array_equal(read_video(saved(tmp_path, boasting)).frames, honest)
    sof = picture.index(b"\xff\xc0") + 5
    huge = picture[:sof] + struct.pack(">HH", 8000, 8000) + picture[sof + 4 :]
    with pytest.raises(UserError, match="claims 8000 x 8000 pixels in"):
        read_video(saved(tmp_path, opencv([huge], (112, 112))))
    # A file of empty chunks repeats its one frame 100,000 times: 1.2 GB.
    many = opencv([picture], (112, 112)).replace(b"idx1", b"00dc\0\0\0\0" * 100_000 + chunk(b"00dc", picture) + b"idx1")
    with pytest.raises(UserError, match="holds 100002 frames of 112 x 112, more than 1024 MiB"):
        read_video(saved(tmp_path, many))
    giant = opencv([picture], (112, 112)).replace(b"00dc" + struct.pack("<I", 4), b"")
    at = giant.index(b"00dc") + 4
    with pytest.raises(UserError, match="holds no frames"):
        open_video(saved(tmp_path, giant[:at] + b"\xff" * 4 + giant[at + 4 :]))


def test_lists_that_overlap_end_soon(speckle, tmp_path):
    picture = jpeg(np.rint(speckle[0] * 255).astype(np.uint8))
    lists = b"".join(b"LIST" + struct.pack("<I", 4 + 12 * (n % 5) * (n < 19990)) + b"movi" for n in range(20000))
    data = chunk(b"RIFF", b"AVI " + headers(1, (112, 112)) + lists + chunk(b"00dc", picture))
    began = time.perf_counter()
    assert open_video(saved(tmp_path, data)).count == 1
    assert time.perf_counter() - began < 5


def encoded(path, frames, codec, pixels, **options):
    """A video file of another program's codec."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pixels
        stream.codec_context.qmin = stream.codec_context.qmax = 2
        for frame in frames:
            form = "gray" if frame.ndim == 2 else "rgb24"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format=form).reformat(format=pixels)))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    "name, codec, pixels, most",
    [
        ("x.avi", "rawvideo", "bgr24", 0),
        ("x.mkv", "ffv1", "gray", 0),
        ("x.avi", "mpeg4", "yuv420p", 4),
        ("x.mp4", "libx264", "yuv420p", 4),
        ("x.mov", "mjpeg", "yuvj420p", 4),
    ],
)
def test_videos_of_other_codecs_are_read(speckle, tmp_path, name, codec, pixels, most):
    frames = np.rint(speckle * 255).astype(np.uint8)
    options = {"crf": "10"} if codec == "libx264" else {}
    path = encoded(tmp_path / name, frames, codec, pixels, **options)
    video = read_video(path)
    assert video.fps == 25 and video.frames.shape == frames.shape and video.frames.dtype == np.uint8
    assert np.abs(video.frames.astype(int) - frames).mean() <= most
    assert np.array_equal(read_video(path, [9, 3]).frames, video.frames[[9, 3]])


def test_colour_is_refused_in_other_codecs_too(speckle, tmp_path):
    grey = np.rint(speckle[:4] * 200).astype(np.uint8)
    doppler = np.stack([grey, grey, grey], axis=-1)
    doppler[:, 40:60, 40:60, 0] = 250
    path = encoded(tmp_path / "x.mp4", doppler, "libx264", "yuv420p")
    with pytest.raises(UserError, match="x.mp4: frame 0 is in colour, but a grey video is needed"):
        read_video(path)
    assert np.abs(read_video(path, colour="average").frames - doppler.mean(axis=-1)).mean() < 6


def test_an_mp4_that_is_cut_or_damaged_is_refused(speckle, tmp_path):
    frames = np.rint(speckle * 255).astype(np.uint8)
    path = encoded(tmp_path / "x.mp4", frames, "libx264", "yuv420p", g="100")
    whole = path.read_bytes()
    for cut in (len(whole) - 10, len(whole) // 2, 60):
        with pytest.raises(UserError, match=f"is cut short: its header claims [0-9]+ bytes, .* ends at byte {cut}"):
            open_video(saved(tmp_path, whole[:cut], "cut.mp4"))
    middle = whole.index(b"mdat") + (len(whole) - whole.index(b"mdat")) // 2
    path = saved(tmp_path, whole[:middle] + b"\xa5" * 300 + whole[middle + 300 :], "harmed.mp4")
    with pytest.raises(UserError, match="harmed.mp4: frame [0-9]+ is damaged"):
        read_video(path)
    assert read_video(path, [0]).frames.shape == (1, 112, 112)


def test_a_codec_that_is_not_known_is_named(tmp_path):
    for codec, named in ((b"\x01\x02\xff\x7f", "0x0102ff7f"), (b"QQ77", "QQ77")):
        head = headers(1, (112, 112), codec=codec)
        data = chunk(b"RIFF", b"AVI " + head + chunk(b"LIST", b"movi" + chunk(b"00dc", bytes(64))))
        with pytest.raises(UserError, match=f"is coded as {named}, which is not known: .*ffmpeg"):
            open_video(saved(tmp_path, data))


def test_what_is_no_avi_file_is_one_sentence(speckle, tmp_path):
    rate = headers(1, (112, 112), rate=0)
    movi = chunk(b"LIST", b"movi" + chunk(b"00dc", jpeg(np.zeros((16, 16), np.uint8))))
    head = headers(1, (112, 112))
    silent = headers(1, (112, 112), stream=b"auds")
    cases = {
        "a.mp4": (b"\0\0\0\x20ftypisom" + bytes(40), "is an MP4 or QuickTime file that is damaged"),
        "b.mkv": (b"\x1a\x45\xdf\xa3" + bytes(40), "is a Matroska or WebM file that is damaged"),
        "c.npy": (b"\x93NUMPY" + bytes(40), "is a NumPy array"),
        "d.npz": (b"PK\x03\x04" + bytes(40), "is a zip archive"),
        "e.gif": (b"GIF89a" + bytes(40), "is a GIF, but AVI, MP4"),
        "f.avi": (b"", "is an empty file"),
        "g.avi": (b"RIFF", "is no video file"),
        "h.avi": (chunk(b"RIFF", b"WAVE" + bytes(40)), "is no video file"),
        "i.avi": (chunk(b"RIFF", b"AVI " + head), "is an AVI file that is damaged or whose recording was not finished"),
        "j.avi": (chunk(b"RIFF", b"AVI " + silent + movi), "holds no video stream"),
        "k.avi": (chunk(b"RIFF", b"AVI " + rate.replace(struct.pack("<I", 10**6), bytes(4)) + movi), "states 0 frames"),
        "l.avi": (chunk(b"RIFF", b"AVI " + head + b"\xff\xfe\xfd\xfc" + bytes(40)), "is an AVI file that is damaged"),
    }
    for name, (data, sentence) in cases.items():
        with pytest.raises(UserError) as caught:
            open_video(saved(tmp_path, data, name))
        assert name in str(caught.value) and sentence in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(UserError, match="does not exist"):
        open_video(tmp_path / "no.avi")
    with pytest.raises(UserError, match="is a folder"):
        open_video(tmp_path)


def test_frames_of_two_sizes_are_refused(tmp_path):
    pictures = [jpeg(np.full((16, 16 + 8 * n), 90, np.uint8)) for n in range(2)]
    with pytest.raises(UserError, match="frame 1 is 16 x 24, but the first is 16 x 16"):
        read_video(saved(tmp_path, opencv(pictures, (16, 16))))


@pytest.mark.parametrize(
    "frames, fps, sentence",
    [
        (np.zeros((4, 8), np.uint8), 10, "but \\(T, H, W\\)"),
        (np.zeros((0, 8, 8), np.uint8), 10, "but \\(T, H, W\\)"),
        (np.zeros((2, 3, 8, 8), np.float32), 10, "but \\(T, H, W\\)"),
        (np.zeros((3, 8, 8), np.int64), 10, "frames are int64, but must be uint8"),
        (np.full((3, 8, 8), 1.5), 10, "lie between 1.5 and 1.5, but"),
        (np.full((3, 8, 8), np.nan), 10, "lie between nan and nan"),
        (np.zeros((3, 8, 8)), 0, "fps is 0, but must be a number"),
        (np.zeros((3, 8, 8)), float("nan"), "fps is nan"),
        (np.zeros((3, 8, 8)), "50", "fps is '50'"),
    ],
)
def test_frames_that_cannot_be_written_leave_nothing(tmp_path, frames, fps, sentence):
    with pytest.raises(UserError, match=sentence):
        write_avi(tmp_path / "x.avi", frames, fps)
    assert not list(tmp_path.iterdir())
