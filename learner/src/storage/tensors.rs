//! Named tensors as safetensors: the state of an optimizer, and the carries of streams.
//!
//! They may be large, and training waits meanwhile, so every number is copied once: from where it
//! lies into the file's bytes.

use std::cmp::Reverse;

use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, json};
use tch::{Device, Kind, Tensor};

/// Bytes of named tensors, wherever they lie.
pub(crate) fn to_bytes(named: &[(String, Tensor)]) -> Vec<u8> {
    let mut named: Vec<&(String, Tensor)> = named.iter().collect();
    // Larger numbers first, so that all are aligned.
    named.sort_by_key(|(_, tensor)| Reverse(tensor.kind().elt_size_in_bytes()));
    let (mut header, mut end) = (Map::new(), 0);
    for (name, tensor) in &named {
        let start = end;
        end += bytes(tensor);
        let about = json!({
            "dtype": dtype(tensor.kind()),
            "shape": tensor.size(),
            "data_offsets": [start, end],
        });
        let earlier = header.insert(name.clone(), about);
        assert!(earlier.is_none(), "two tensors are called {name}");
    }
    let mut header = serde_json::to_vec(&header).expect("names and numbers make JSON");
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = vec![0; 8 + header.len() + end];
    file[..8].copy_from_slice(&(header.len() as u64).to_le_bytes());
    file[8..8 + header.len()].copy_from_slice(&header);
    let mut rest = &mut file[8 + header.len()..];
    for (_, tensor) in named {
        let (place, after) = rest.split_at_mut(bytes(tensor));
        let tensor = tensor.detach().to_device(Device::Cpu).contiguous();
        tensor.copy_data_u8(place, tensor.numel());
        rest = after;
    }
    file
}

/// Named tensors in `bytes`, on the CPU; an error says why there are none.
pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Vec<(String, Tensor)>, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    file.iter()
        .map(|(name, view)| {
            let kind = kind(view.dtype())
                .ok_or_else(|| format!("`{name}` holds numbers of type {:?}", view.dtype()))?;
            let shape = shape(view.shape())
                .ok_or_else(|| format!("`{name}` has the shape {:?}", view.shape()))?;
            let tensor = Tensor::f_from_data_size(view.data(), &shape, kind);
            Ok((name.to_owned(), tensor.map_err(|error| error.to_string())?))
        })
        .collect()
}

/// Sides as libtorch counts them. A tensor without numbers may have any sides in a file, but not
/// there.
fn shape(sides: &[usize]) -> Option<Vec<i64>> {
    let sides: Vec<i64> =
        sides.iter().map(|&side| i64::try_from(side).ok()).collect::<Option<_>>()?;
    let strides = sides.iter().map(|&side| side.max(1)).try_fold(1_i64, i64::checked_mul);
    strides.map(|_| sides)
}

fn bytes(tensor: &Tensor) -> usize {
    tensor.numel() * tensor.kind().elt_size_in_bytes()
}

fn dtype(kind: Kind) -> Dtype {
    match kind {
        Kind::BFloat16 => Dtype::BF16,
        Kind::Float => Dtype::F32,
        Kind::Double => Dtype::F64,
        Kind::Int64 => Dtype::I64,
        other => panic!("learners remember floats and counts, not {other:?}"),
    }
}

fn kind(dtype: Dtype) -> Option<Kind> {
    match dtype {
        Dtype::BF16 => Some(Kind::BFloat16),
        Dtype::F32 => Some(Kind::Float),
        Dtype::F64 => Some(Kind::Double),
        Dtype::I64 => Some(Kind::Int64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::damage::{cases, damaged};

    #[test]
    fn tensors_come_back_as_they_were() {
        let named = vec![
            ("mean.a".to_owned(), Tensor::from_slice(&[1.5_f32, -0.0, f32::MIN_POSITIVE])),
            ("steps".to_owned(), Tensor::from_slice(&[7_i64])),
            ("odd".to_owned(), Tensor::from_slice(&[0.5_f32; 3]).to_kind(Kind::BFloat16)),
            ("none".to_owned(), Tensor::zeros([0, 4], (Kind::Float, Device::Cpu))),
            ("square".to_owned(), Tensor::from_slice(&[0.1_f64; 6]).view([2, 3])),
        ];
        let mut back = from_bytes(&to_bytes(&named)).unwrap();
        back.sort_by_key(|(name, _)| name.clone());
        let names: Vec<&str> = back.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["mean.a", "none", "odd", "square", "steps"]);
        assert_eq!(back[0].1, named[0].1);
        assert_eq!(back[1].1.size(), [0, 4]);
        assert_eq!((back[2].1.kind(), back[2].1.double_value(&[2])), (Kind::BFloat16, 0.5));
        assert_eq!(back[3].1, named[4].1);
        assert_eq!((back[4].1.kind(), back[4].1.int64_value(&[0])), (Kind::Int64, 7));
    }

    #[test]
    fn other_bytes_are_refused() {
        assert!(from_bytes(b"not safetensors").is_err());
    }

    fn file() -> Vec<u8> {
        let ones = Tensor::from_slice(&[1.0_f32; 6]).view([2, 3]);
        to_bytes(&[("ones".into(), ones), ("steps".into(), Tensor::from_slice(&[7_i64]))])
    }

    /// The story: such sides became negative, and libtorch panicked.
    #[test]
    fn an_empty_tensor_with_huge_sides_is_refused() {
        for sides in ["[0,18446744073709551615]", "[0,4611686018427387904,4]"] {
            let header =
                format!(r#"{{"a":{{"dtype":"F32","shape":{sides},"data_offsets":[0,0]}}}}"#);
            let length = (header.len() as u64).to_le_bytes();
            let refused = from_bytes(&[&length[..], header.as_bytes()].concat());
            assert!(refused.is_err(), "{refused:?}");
        }
    }

    proptest::proptest! {
        #![proptest_config(cases(1_000))]

        #[test]
        fn damaged_bytes_do_no_harm(bytes in damaged(vec![file()])) {
            let _ = from_bytes(&bytes);
        }
    }
}
