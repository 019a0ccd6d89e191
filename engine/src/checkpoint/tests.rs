//! Files that PyTorch and numpy really wrote, and files made to do harm.
//!
//! Each harmful file must be refused for its own reason, and quickly.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use safetensors::Dtype;
use tempfile::TempDir;

use super::write::TorchWriter;
use super::*;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/checkpoints").join(name)
}

fn opened(name: &str) -> Checkpoint {
    Checkpoint::open(&fixture(name)).unwrap().unwrap()
}

/// -1, -7/8, -6/8, ...: what `make.py` fills tensors with.
fn ramp(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i as f32 - 8.0) / 8.0).collect()
}

fn named<'a>(value: &'a Value, key: &str) -> &'a Tensor {
    match value.get(key) {
        Some(Value::Tensor(tensor)) => tensor,
        other => panic!("{key} is {other:?}"),
    }
}

#[test]
fn every_type_that_torch_writes_is_read() {
    let file = opened("types.pt");
    for name in ["bfloat16", "float16", "float32", "float64", "int8", "int16", "int32", "int64"] {
        let tensor = named(&file.value, name);
        assert_eq!(tensor.shape, [2, 3]);
        assert_eq!(file.read(tensor).unwrap(), [-8.0, -7.0, -6.0, -5.0, -4.0, -3.0], "{name}");
    }
    assert_eq!(file.read(named(&file.value, "uint8")).unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(file.read(named(&file.value, "bool")).unwrap(), [1.0, 0.0, 1.0, 0.0, 1.0, 0.0]);
}

#[test]
fn views_of_one_storage_are_read_each_as_its_own() {
    let state = StateDict::of(opened("views.pt")).unwrap();
    let read = |key: &str| state.file.read(&state.tensors[key]).unwrap();
    let whole = ramp(24);
    assert_eq!(read("whole"), whole);
    assert_eq!(read("rows"), whole[6..18]);
    let columns: Vec<f32> =
        (0..4).flat_map(|row| whole[row * 6 + 2..row * 6 + 4].to_vec()).collect();
    assert_eq!(read("columns"), columns);
    let transposed: Vec<f32> = (0..24).map(|i| whole[i % 4 * 6 + i / 4]).collect();
    assert_eq!(read("transposed"), transposed);
    assert_eq!(state.tensors["transposed"].shape, [6, 4]);
    assert_eq!((read("scalar"), read("empty")), (vec![whole[15]], vec![]));
    assert_eq!(read("parameter"), whole[..6]);
    assert_eq!(state.others.len(), 2, "{:?}", state.others);
}

#[test]
fn the_state_dict_of_a_module_is_read() {
    let state = StateDict::of(opened("module.pt")).unwrap();
    let keys: Vec<&str> = state.tensors.keys().map(String::as_str).collect();
    assert_eq!(keys, ["0.bias", "0.weight", "1.bias", "1.weight"]);
    assert_eq!(state.file.read(&state.tensors["0.weight"]).unwrap(), ramp(6));
}

#[test]
fn numpy_arrays_of_every_protocol_are_read() {
    for protocol in [2, 4, 5] {
        let file = opened(&format!("arrays_{protocol}.pickle"));
        for key in ["array", "columns", "half"] {
            let tensor = named(&file.value, key);
            assert_eq!(tensor.shape, [4, 6]);
            assert_eq!(file.read(tensor).unwrap(), ramp(24), "{key}, protocol {protocol}");
        }
        assert!(matches!(file.value.get("count"), Some(Value::Int(5))));
    }
}

#[test]
fn a_tensor_that_pickle_wrote_is_read() {
    let file = opened("tensor.pickle");
    let Value::Tensor(tensor) = &file.value else { panic!("{:?}", file.value) };
    assert_eq!((tensor.dtype, file.read(tensor).unwrap()), (Dtype::BF16, ramp(24)));
}

#[test]
fn what_the_writer_wrote_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("written.pth");
    let mut writer = TorchWriter::create(&path).unwrap();
    let bytes: Vec<u8> = ramp(6).iter().flat_map(|v| v.to_le_bytes()).collect();
    writer.tensor("a", Dtype::F32, &[2, 3], bytes.as_slice()).unwrap();
    writer.tensor("scalar", Dtype::U8, &[], [7].as_slice()).unwrap();
    let error = writer.tensor("b", Dtype::F32, &[7], bytes.as_slice()).unwrap_err();
    assert!(error.to_string().contains("b has 24 bytes"), "{error}");
    writer.finish().unwrap();
    let state = StateDict::of(Checkpoint::open(&path).unwrap().unwrap()).unwrap();
    assert_eq!(state.file.read(&state.tensors["a"]).unwrap(), ramp(6));
    assert_eq!(state.file.read(&state.tensors["scalar"]).unwrap(), [7.0]);
    assert_eq!(state.tensors.len(), 2);
}

#[test]
fn large_tensors_come_in_parts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("large.pth");
    let len = CHUNK + 3;
    let mut writer = TorchWriter::create(&path).unwrap();
    let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
    writer.tensor("large", Dtype::U8, &[len], bytes.as_slice()).unwrap();
    writer.finish().unwrap();
    let state = StateDict::of(Checkpoint::open(&path).unwrap().unwrap()).unwrap();
    let tensor = &state.tensors["large"];
    let mut parts = Vec::new();
    let mut sum = 0;
    let read = state.file.read_parts(tensor, |part| {
        parts.push(part.len());
        sum += part.iter().map(|v| *v as u64).sum::<u64>();
        Ok::<_, CheckpointError>(())
    });
    read.unwrap();
    assert_eq!(parts, [CHUNK, 3]);
    assert_eq!(sum, bytes.iter().map(|b| u64::from(*b)).sum::<u64>());
    assert_eq!(state.file.read(tensor).unwrap().len(), len);
}

#[test]
fn other_files_are_no_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    for bytes in [&b""[..], b"P", b"# A title", b"\x89PNG\r\n\x1a\n0123456789012345"] {
        let path = dir.path().join("file");
        std::fs::write(&path, bytes).unwrap();
        assert!(Checkpoint::open(&path).unwrap().is_none());
    }
}

/// The sentence that refuses a file of these bytes.
fn refused(bytes: &[u8]) -> String {
    let dir: TempDir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, bytes).unwrap();
    let begun = Instant::now();
    let sentence = match Checkpoint::open(&path) {
        Err(error) => error.to_string(),
        Ok(None) => panic!("no known format"),
        Ok(Some(file)) => match StateDict::of(file) {
            Ok(state) => panic!("accepted with {:?}", state.tensors.keys()),
            Err(error) => error.to_string(),
        },
    };
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}: {sentence}", begun.elapsed());
    assert!(!sentence.contains('\n') && sentence.len() < 600, "{sentence}");
    sentence
}

fn assert_refused(bytes: &[u8], words: &str) {
    let sentence = refused(bytes);
    assert!(sentence.contains(words), "{words:?} is not in: {sentence}");
}

#[test]
fn what_only_execution_could_read_is_refused() {
    let file = |name: &str| std::fs::read(fixture(name)).unwrap();
    assert_refused(&file("legacy.pt"), "before version 1.6");
    assert_refused(&file("script.pt"), "TorchScript");
    assert_refused(&file("module_itself.pt"), "torch.nn.modules.container.Sequential");
    assert_refused(&file("expanded.pt"), "reaches outside its storage");
    assert_refused(&file("big_endian.pickle"), "big-endian");
    assert_refused(&file("objects.pickle"), "numpy's O8");
    assert_refused(b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull");
}

#[test]
fn pickles_that_would_execute_something_are_refused() {
    assert_refused(b"\x80\x02cos\nsystem\nX\x04\0\0\0ls -l\x85R.", "os.system");
    assert_refused(b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "os.system");
    assert_refused(b"\x80\x02cbuiltins\neval\n.", "builtins.eval");
    assert_refused(b"\x80\x02ctorch.hub\nload\n.", "torch.hub.load");
    assert_refused(b"\x80\x02c__builtin__\ngetattr\n.", "__builtin__.getattr");
    assert_refused(b"\x80\x02c\x1b[2J\nx\n.", "\\u{1b}[2J.x");
    // EXT1, INST, OBJ, PERSID.
    for code in [0x82, b'i', b'o', b'P'] {
        assert_refused(&[0x80, 2, b'(', code, 1, b'.'], &format!("instruction {code:#04x}"));
    }
}

#[test]
fn pickles_that_would_take_all_memory_are_refused() {
    // Lengths far beyond the file.
    assert_refused(b"\x80\x02X\xff\xff\xff\xffabc.", "ends too early");
    assert_refused(b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc.", "ends too early");
    assert_refused(b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\xffabc.", "ends too early");
    assert_refused(b"\x80\x02\x8b\xff\xff\xff\x7f\0\0.", "a whole number");
    // A list of two references to a list of two references, and so on.
    let mut doubling = b"\x80\x02]q\x00".to_vec();
    for level in 0..30 {
        doubling.extend([b'h', level, b'h', level, 0x86, b'q', level + 1]);
    }
    doubling.push(b'.');
    assert_refused(&doubling, "what its pickle unfolds to is larger");
    // The same bytes decoded over and over.
    let mut decoding = b"\x80\x02X\x00\x00\x10\x00".to_vec();
    decoding.extend(b"a".repeat(1 << 20));
    decoding.extend(b"q\x000c_codecs\nencode\nq\x010X\x06\0\0\0latin1q\x020");
    for _ in 0..1000 {
        decoding.extend(b"h\x01h\x00h\x02\x86R");
    }
    decoding.push(b'.');
    assert_refused(&decoding, "what its pickle builds is larger");
    let mut endless = b"\x80\x02".to_vec();
    endless.extend(b"}".repeat(2_000_000));
    assert_refused(&endless, "what its pickle builds is larger");
    let mut endless = b"\x80\x02N".to_vec();
    endless.extend(b"20".repeat(2_500_000));
    assert_refused(&endless, "number of instructions");
    assert_refused(&[&b"\x80\x02"[..], &[b'('; 300]].concat(), "nests deeper");
    // Lists in lists, and a list in itself.
    assert_refused(&[&b"\x80\x02]"[..], &[0x85; 40], b"."].concat(), "nests deeper");
    assert_refused(b"\x80\x02]q\x00h\x00a.", "nests deeper");
    assert_refused(b"\x80\x02}q\x00X\x05\0\0\0modelh\x00s.", "nests deeper");
}

#[test]
fn pickles_that_make_no_sense_are_refused() {
    let cases: [(&[u8], &str); 11] = [
        (b"\x80\x02", "ends too early"),
        (b"\x80\x02.", "takes what is not there"),
        (b"\x80\x02h\x07.", "recalls what it never kept"),
        (b"\x80\x02t.", "a mark is missing"),
        (b"\x80\x02}K\x01a.", "no list"),
        (b"\x80\x02]K\x01K\x02s.", "no dictionary"),
        (b"\x80\x02}(K\x01u.", "a key without a value"),
        (b"\x80\x02K\x01)R.", "no class"),
        (b"\x80\x02cos", "a name without an end"),
        (b"\x80\x02K\x01.", "no named tensors"),
        (b"\x80\x02K\x01Q.", "for a storage"),
    ];
    for (bytes, words) in cases {
        assert_refused(bytes, words);
    }
}

/// A torch archive around a pickle, with one storage of eight bytes.
fn torch_archive(pickle: &[u8]) -> Vec<u8> {
    archive(&[("a/data.pkl", pickle), ("a/data/0", &[0; 8])])
}

/// A plain zip archive of stored entries.
fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let sizes = [data.len() as u32; 2].map(u32::to_le_bytes).concat();
        let at = (bytes.len() as u32).to_le_bytes();
        let lens = [(name.len() as u16).to_le_bytes(), [0; 2]].concat();
        let common = [&[20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &sizes[..], &lens].concat();
        bytes.extend([b"PK\x03\x04", &common[..], name.as_bytes(), data].concat());
        let tail = [&[0; 10], &at[..], name.as_bytes()].concat();
        directory.extend([&b"PK\x01\x02\x14\x00"[..], &common, &tail].concat());
    }
    let count = (entries.len() as u16).to_le_bytes();
    let size = (directory.len() as u32).to_le_bytes();
    let at = (bytes.len() as u32).to_le_bytes();
    bytes.extend(directory);
    bytes.extend([b"PK\x05\x06\0\0\0\0", &count[..], &count, &size, &at, &[0; 2]].concat());
    bytes
}

/// A pickle of `{"w": tensor}` over storage 0, which has `numbers` of a type.
fn tensor_pickle(class: &str, numbers: u8, offset: u8, shape: &str, strides: &str) -> Vec<u8> {
    let tuple = |sizes: &str| {
        let sizes = sizes.split_whitespace().map(|n| n.parse::<u64>().unwrap());
        let longs = sizes.flat_map(|n| [&[0x8a, 8][..], &n.to_le_bytes()].concat());
        [&b"("[..], &longs.collect::<Vec<u8>>(), b"t"].concat()
    };
    [
        &b"\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storage"[..],
        format!("ctorch\n{class}\nX").as_bytes(),
        &[1, 0, 0, 0, b'0', b'N', b'K', numbers, b't', b'Q', b'K', offset],
        &tuple(shape),
        &tuple(strides),
        b"\x89}tRs.",
    ]
    .concat()
}

#[test]
fn the_archives_of_these_tests_are_ones() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, torch_archive(&tensor_pickle("FloatStorage", 2, 0, "2", "1"))).unwrap();
    let state = StateDict::of(Checkpoint::open(&path).unwrap().unwrap()).unwrap();
    assert_eq!(state.file.read(&state.tensors["w"]).unwrap(), [0.0, 0.0]);
}

#[test]
fn tensors_that_reach_outside_their_storage_are_refused() {
    let cases = [
        (("FloatStorage", 2, 1, "2", "1"), "reaches outside"),
        (("FloatStorage", 2, 0, "3", "1"), "reaches outside"),
        (("FloatStorage", 2, 0, "2", "2"), "reaches outside"),
        (("FloatStorage", 2, 0, "2 2", "1"), "reaches outside"),
        (("FloatStorage", 2, 0, "18446744073709551615 2", "0 0"), "for a"),
        (("FloatStorage", 2, 0, "9223372036854775807 9", "0 0"), "reaches outside"),
        (("FloatStorage", 2, 0, "1099511627776", "0"), "reaches outside"),
        (("FloatStorage", 2, 0, "1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", "1"), "torch's tensor"),
        (("FloatStorage", 9, 0, "2", "1"), "8 bytes instead of 36"),
        (("ComplexFloatStorage", 1, 0, "1", "1"), "torch.ComplexFloatStorage"),
    ];
    for ((class, numbers, offset, shape, strides), words) in cases {
        let pickle = tensor_pickle(class, numbers, offset, shape, strides);
        let sentence = refused(&torch_archive(&pickle));
        let is_call = words == "for a" && sentence.contains("torch's tensor");
        assert!(sentence.contains(words) || is_call, "{words:?} is not in: {sentence}");
    }
    let lost = archive(&[("a/data.pkl", &tensor_pickle("FloatStorage", 2, 0, "2", "1"))]);
    assert_refused(&lost, "names the storage 0");
    let bare = tensor_pickle("FloatStorage", 2, 0, "2", "1");
    assert_refused(&bare, "names the storage 0");
}

#[test]
fn a_name_that_occurs_twice_is_refused() {
    let once = tensor_pickle("FloatStorage", 2, 0, "2", "1");
    let entry = &once[3..once.len() - 1];
    let twice = [&once[..once.len() - 1], entry, b"."].concat();
    assert_refused(&torch_archive(&twice), "the name w occurs twice");
    let data = b"\x80\x02}.";
    assert_refused(&archive(&[("a/data.pkl", data), ("a/data.pkl", data)]), "occurs twice");
}

#[test]
fn archives_with_tricks_are_refused() {
    let whole = torch_archive(&tensor_pickle("FloatStorage", 2, 0, "2", "1"));
    for cut in [30, whole.len() / 2, whole.len() - 1] {
        assert_refused(&whole[..cut], "its zip directory is missing");
    }
    let entry = whole.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    let second =
        entry + 4 + whole[entry + 4..].windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    let end = whole.windows(4).position(|w| w == b"PK\x05\x06").unwrap();
    let edited = |at: usize, bytes: &[u8]| {
        let mut file = whole.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    assert_refused(&edited(entry + 10, &[8]), "data.pkl is compressed");
    assert_refused(&edited(entry + 8, &[1]), "data.pkl is encrypted");
    assert_refused(&edited(entry + 20, &[255]), "states two different sizes");
    assert_refused(&edited(second + 20, &[255, 255, 0, 0, 255, 255, 0, 0]), "outside the file");
    assert_refused(&edited(second + 42, &[1]), "outside the file");
    assert_refused(&edited(second + 42, &[255, 255, 255]), "outside the file");
    assert_refused(&edited(end + 16, &[255, 255, 255]), "contradicts itself");
    assert_refused(&edited(end + 12, &[1]), "contradicts itself");
    // The first entry swallows the second.
    let long = u32::from_le_bytes(whole[entry + 20..entry + 24].try_into().unwrap()) + 40;
    let sizes = [long.to_le_bytes(), long.to_le_bytes()].concat();
    assert_refused(&edited(entry + 20, &sizes), "lie over each other");
    let pickle: &[u8] = b"\x80\x02}.";
    for name in ["../data.pkl", "/data.pkl", "a/../../data.pkl", "c:\\data.pkl"] {
        assert_refused(&archive(&[(name, pickle)]), "leads out of the archive");
    }
    assert_refused(&archive(&[("a/readme", b"")]), "without the one data.pkl");
    let two: [(&str, &[u8]); 2] = [("a/data.pkl", pickle), ("b/data.pkl", pickle)];
    assert_refused(&archive(&two), "without the one data.pkl");
    let order: [(&str, &[u8]); 2] = [("a/data.pkl", pickle), ("a/byteorder", b"big")];
    assert_refused(&archive(&order), "big-endian");
    assert_refused(&archive(&[("a/data.pkl", b"\x80\x02cos\nsystem\n.")]), "os.system");
}

/// A safetensors file of this header, followed by `len` bytes.
fn with_header(header: &str, len: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + len, 0);
    bytes
}

#[test]
fn malformed_safetensors_are_refused() {
    let entry = |name: &str, dtype: &str, shape: &str, from: usize, to: usize| {
        format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{from},{to}]}}"#)
    };
    let file = |entries: &[String], len| with_header(&format!("{{{}}}", entries.join(",")), len);
    let w = entry("w", "F32", "[2]", 0, 8);
    let huge = [&(1_u64 << 40).to_le_bytes()[..], b"{}"].concat();
    assert_refused(&huge, "its header is larger than");
    assert_refused(&with_header(&format!("{{{w}}}"), 8)[..40], "its header is not whole");
    assert_refused(&with_header("{\"w\": nonsense}", 8), "not that of a safetensors file");
    assert_refused(&file(std::slice::from_ref(&w), 7), "do not end where the file does");
    assert_refused(&file(std::slice::from_ref(&w), 9), "do not end where the file does");
    assert_refused(&file(&[w.clone(), w.clone()], 8), "the name w occurs twice");
    assert_refused(&file(&[entry("w", "F32", "[3]", 0, 8)], 8), "does not fit its place");
    assert_refused(
        &file(&[w.clone(), entry("x", "F32", "[2]", 4, 12)], 12),
        "does not fit its place",
    );
    assert_refused(&file(&[entry("w", "F32", "[2]", 4, 12)], 12), "does not fit its place");
    assert_refused(&file(&[entry("w", "F8_E4M3", "[8]", 0, 8)], 8), "F8_E4M3 are not read");
    let overflow = "[4294967296,4294967296,4294967296]";
    assert_refused(&file(&[entry("w", "F32", overflow, 0, 8)], 8), "does not fit its place");
    assert_refused(&with_header("{}", 0), "no named tensors");
}
