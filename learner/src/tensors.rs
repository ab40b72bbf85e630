//! Named tensors as safetensors, for what an optimizer remembers.

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use tch::{Device, Kind, Tensor};

/// The bytes of named tensors, wherever they lie.
pub(crate) fn to_bytes(named: &[(String, Tensor)]) -> Vec<u8> {
    let data: Vec<Vec<u8>> = named.iter().map(|(_, tensor)| bytes(tensor)).collect();
    let views = named.iter().zip(&data).map(|((name, tensor), data)| {
        let shape = tensor.size().iter().map(|&side| side as usize).collect();
        let view = TensorView::new(dtype(tensor.kind()), shape, data);
        (name.as_str(), view.expect("a tensor's bytes have its shape"))
    });
    safetensors::serialize(views, None).expect("an optimizer's tensors have names of their own")
}

/// The named tensors in `bytes`, on the CPU; the reason where there are none.
pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Vec<(String, Tensor)>, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    file.iter()
        .map(|(name, view)| {
            let kind = kind(view.dtype())
                .ok_or_else(|| format!("`{name}` holds numbers of type {:?}", view.dtype()))?;
            let shape: Vec<i64> = view.shape().iter().map(|&side| side as i64).collect();
            Ok((name.to_owned(), Tensor::from_data_size(view.data(), &shape, kind)))
        })
        .collect()
}

fn bytes(tensor: &Tensor) -> Vec<u8> {
    let tensor = tensor.detach().to_device(Device::Cpu).contiguous();
    let mut bytes = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
    tensor.copy_data_u8(&mut bytes, tensor.numel());
    bytes
}

fn dtype(kind: Kind) -> Dtype {
    match kind {
        Kind::Float => Dtype::F32,
        Kind::Double => Dtype::F64,
        Kind::Int64 => Dtype::I64,
        other => panic!("optimizers remember floats and counts, not {other:?}"),
    }
}

fn kind(dtype: Dtype) -> Option<Kind> {
    match dtype {
        Dtype::F32 => Some(Kind::Float),
        Dtype::F64 => Some(Kind::Double),
        Dtype::I64 => Some(Kind::Int64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_come_back_as_they_were() {
        let named = vec![
            ("mean.a".to_owned(), Tensor::from_slice(&[1.5_f32, -0.0, f32::MIN_POSITIVE])),
            ("steps".to_owned(), Tensor::from_slice(&[7_i64])),
            ("square".to_owned(), Tensor::from_slice(&[0.1_f64; 6]).view([2, 3])),
        ];
        let mut back = from_bytes(&to_bytes(&named)).unwrap();
        back.sort_by_key(|(name, _)| name.clone());
        let names: Vec<&str> = back.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["mean.a", "square", "steps"]);
        assert_eq!(back[0].1, named[0].1);
        assert_eq!(back[1].1, named[2].1);
        assert_eq!((back[2].1.kind(), back[2].1.int64_value(&[0])), (Kind::Int64, 7));
    }

    #[test]
    fn other_bytes_are_refused() {
        assert!(from_bytes(b"not safetensors").is_err());
    }
}
