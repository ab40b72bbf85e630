//! libenv: the C interface of environments that gym3 and ProcGen share, seven functions over columns
//! of plain memory (<https://github.com/openai/gym3/blob/master/gym3/libenv.h>, version 1).
//!
//! A [`Library`] is loaded once and stays. A [`Played`] is one environment of it, with the memory that
//! it reads and writes. When an episode ends, the library shows the next one's first observation at
//! once, beside the last reward.

#![allow(unsafe_code, reason = "functions of a library that is written in C++")]

use std::ffi::{c_char, c_int, c_void};
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::Mutex;

use libloading::Symbol;

/// The version of the interface that is spoken here.
const VERSION: c_int = 1;
const NAME_BYTES: usize = 128;
const MOST_DIMENSIONS: usize = 16;

/// Spaces of an environment.
const OBSERVATION: c_int = 1;
const ACTION: c_int = 2;
const INFO: c_int = 3;

/// Types of numbers.
const UINT8: c_int = 1;
const INT32: c_int = 2;
const FLOAT32: c_int = 3;

/// Type of a tensor, as the library writes it.
#[repr(C)]
#[derive(Clone, Copy)]
struct TensorType {
    name: [c_char; NAME_BYTES],
    scalar_type: c_int,
    dtype: c_int,
    shape: [c_int; MOST_DIMENSIONS],
    dimensions: c_int,
    low: u32,
    high: u32,
}

/// An option, as the library reads it.
#[repr(C)]
struct RawOption {
    name: [c_char; NAME_BYTES],
    dtype: c_int,
    count: c_int,
    data: *mut c_void,
}

#[repr(C)]
struct RawOptions {
    items: *mut RawOption,
    count: c_int,
}

/// Places where the library reads and writes: one pointer for each tensor of a space.
#[repr(C)]
struct Buffers {
    observations: *mut *mut c_void,
    reward: *mut f32,
    first: *mut u8,
    infos: *mut *mut c_void,
    actions: *mut *mut c_void,
}

type Make = unsafe extern "C" fn(c_int, RawOptions) -> *mut c_void;
type TensorTypes = unsafe extern "C" fn(*mut c_void, c_int, *mut TensorType) -> c_int;
type SetBuffers = unsafe extern "C" fn(*mut c_void, *mut Buffers);
type Act = unsafe extern "C" fn(*mut c_void);

/// A loaded library. It is never unloaded.
pub(crate) struct Library {
    make: Make,
    tensor_types: TensorTypes,
    set_buffers: SetBuffers,
    observe: Act,
    act: Act,
    close: Act,
    /// The library reads its pictures when the first environment is made: one at a time.
    making: Mutex<()>,
}

/// Value of an option.
#[derive(Clone, Debug)]
pub(crate) enum Setting {
    Text(String),
    Number(i32),
    Truth(bool),
}

/// A tensor of an environment, and its memory.
struct Tensor {
    name: String,
    dtype: c_int,
    shape: Vec<usize>,
    /// Four bytes each, so that every type is aligned.
    memory: Box<[u32]>,
}

/// One environment of a library.
pub(crate) struct Played {
    library: &'static Library,
    handle: NonNull<c_void>,
    observation: Tensor,
    action: Tensor,
    infos: Vec<Tensor>,
    outcome: Box<(f32, u8)>,
    /// Memory that the library holds pointers to until it is closed.
    _kept: Kept,
}

struct Kept {
    _buffers: Box<Buffers>,
    _observations: Box<[*mut c_void]>,
    _infos: Box<[*mut c_void]>,
    _actions: Box<[*mut c_void]>,
    _settings: Vec<Box<[u32]>>,
}

// SAFETY: an environment may be used from any thread, by one at a time: the interface says so, and
// every pointer leads to memory that it owns.
unsafe impl Send for Played {}

impl Library {
    /// Loads the library at `path`; the error says why it cannot be.
    pub(crate) fn load(path: &Path) -> Result<Self, String> {
        // SAFETY: what runs when ProcGen's library is loaded are its own initializers.
        let library = unsafe { libloading::Library::new(path) };
        let library = Box::leak(Box::new(library.map_err(|error| error.to_string())?));
        let version = function::<unsafe extern "C" fn() -> c_int>(library, "libenv_version")?;
        // SAFETY: a function of the interface.
        let version = unsafe { version() };
        if version != VERSION {
            return Err(format!("it speaks version {version} of libenv, and not {VERSION}"));
        }
        Ok(Library {
            make: function(library, "libenv_make")?,
            tensor_types: function(library, "libenv_get_tensortypes")?,
            set_buffers: function(library, "libenv_set_buffers")?,
            observe: function(library, "libenv_observe")?,
            act: function(library, "libenv_act")?,
            close: function(library, "libenv_close")?,
            making: Mutex::new(()),
        })
    }

    fn tensors(&self, handle: NonNull<c_void>, space: c_int) -> Vec<Tensor> {
        // SAFETY: the handle is open, and null asks for the number alone.
        let count = unsafe { (self.tensor_types)(handle.as_ptr(), space, ptr::null_mut()) };
        let none = TensorType {
            name: [0; NAME_BYTES],
            scalar_type: 0,
            dtype: 0,
            shape: [0; MOST_DIMENSIONS],
            dimensions: 0,
            low: 0,
            high: 0,
        };
        let mut types = vec![none; usize::try_from(count).expect("a number of tensors")];
        // SAFETY: there is room for as many as it said.
        unsafe { (self.tensor_types)(handle.as_ptr(), space, types.as_mut_ptr()) };
        types.iter().map(Tensor::of).collect()
    }
}

fn function<T: Copy + 'static>(
    library: &'static libloading::Library,
    name: &str,
) -> Result<T, String> {
    // SAFETY: the types above are those of the interface.
    let symbol: Result<Symbol<'static, T>, _> = unsafe { library.get(name.as_bytes()) };
    symbol.map(|symbol| *symbol).map_err(|error| error.to_string())
}

impl Tensor {
    fn of(found: &TensorType) -> Tensor {
        let name = found.name.iter().take_while(|&&letter| letter != 0);
        let name = name.map(|&letter| char::from(letter as u8)).collect();
        let sides = &found.shape[..usize::try_from(found.dimensions).expect("dimensions")];
        let shape: Vec<usize> =
            sides.iter().map(|&side| usize::try_from(side).expect("a side")).collect();
        let size = match found.dtype {
            UINT8 => 1,
            INT32 | FLOAT32 => 4,
            other => panic!("libenv has no type {other}"),
        };
        let bytes = size * shape.iter().product::<usize>();
        Tensor { name, dtype: found.dtype, shape, memory: vec![0; bytes.div_ceil(4)].into() }
    }

    fn place(&mut self) -> *mut c_void {
        self.memory.as_mut_ptr().cast()
    }
}

impl Played {
    /// Makes one environment, whose first episode has begun. It has one observation of bytes, of this
    /// shape, and one whole number for an action.
    pub(crate) fn open(
        library: &'static Library,
        settings: &[(&str, Setting)],
        shape: &[usize],
    ) -> Self {
        let mut memory: Vec<Box<[u32]>> = settings.iter().map(|(_, s)| s.memory()).collect();
        let options = settings.iter().zip(&mut memory).map(|((name, setting), memory)| RawOption {
            name: letters(name),
            dtype: setting.dtype(),
            count: setting.count(),
            data: memory.as_mut_ptr().cast(),
        });
        let mut options: Vec<RawOption> = options.collect();
        let raw = RawOptions { items: options.as_mut_ptr(), count: options.len() as c_int };
        let alone = library.making.lock().expect("the library does not panic");
        // SAFETY: the options live as long as the environment; their number is right.
        let handle = unsafe { (library.make)(1, raw) };
        let handle = NonNull::new(handle).expect("an environment");
        drop(alone);
        let mut observations = library.tensors(handle, OBSERVATION);
        let mut actions = library.tensors(handle, ACTION);
        let mut infos = library.tensors(handle, INFO);
        let mut outcome = Box::new((0.0, 0));
        let places = |tensors: &mut Vec<Tensor>| -> Box<[*mut c_void]> {
            tensors.iter_mut().map(Tensor::place).collect()
        };
        let (mut ob, mut info, mut ac) =
            (places(&mut observations), places(&mut infos), places(&mut actions));
        let mut buffers = Box::new(Buffers {
            observations: ob.as_mut_ptr(),
            reward: &raw mut outcome.0,
            first: &raw mut outcome.1,
            infos: info.as_mut_ptr(),
            actions: ac.as_mut_ptr(),
        });
        // SAFETY: all memory was made for the library's own types, and lives as long as the handle.
        unsafe {
            (library.set_buffers)(handle.as_ptr(), &raw mut *buffers);
            (library.observe)(handle.as_ptr());
        }
        let (observation, action) = (observations.swap_remove(0), actions.swap_remove(0));
        assert_eq!((observation.dtype, &observation.shape[..]), (UINT8, shape), "its observations");
        assert_eq!((action.dtype, action.memory.len()), (INT32, 1), "its actions");
        let kept = Kept {
            _buffers: buffers,
            _observations: ob,
            _infos: info,
            _actions: ac,
            _settings: memory,
        };
        Played { library, handle, observation, action, infos, outcome, _kept: kept }
    }

    /// Takes one action, and observes what follows.
    pub(crate) fn act(&mut self, action: i32) {
        self.action.memory[0] = action as u32;
        // SAFETY: the handle is open, and its memory is as it was made.
        unsafe {
            (self.library.act)(self.handle.as_ptr());
            (self.library.observe)(self.handle.as_ptr());
        }
    }

    /// The bytes of the observation.
    pub(crate) fn observation(&self) -> &[u8] {
        let bytes = self.observation.shape.iter().product();
        // SAFETY: the memory has at least so many bytes, and nobody writes it now.
        unsafe { std::slice::from_raw_parts(self.observation.memory.as_ptr().cast(), bytes) }
    }

    /// The reward of the last action.
    pub(crate) fn reward(&self) -> f32 {
        self.outcome.0
    }

    /// True if the observation is the first of an episode.
    pub(crate) fn is_first(&self) -> bool {
        self.outcome.1 != 0
    }

    /// The first byte of an info.
    pub(crate) fn info(&self, name: &str) -> u8 {
        let tensor = self.infos.iter().find(|tensor| tensor.name == name);
        tensor.expect("an info of this name").memory[0].to_ne_bytes()[0]
    }
}

impl Drop for Played {
    fn drop(&mut self) {
        // SAFETY: the handle is open, and is not used again.
        unsafe { (self.library.close)(self.handle.as_ptr()) }
    }
}

impl Setting {
    /// Its bytes, aligned for every type.
    fn memory(&self) -> Box<[u32]> {
        let words = |bytes: &[u8]| {
            let word = |bytes: &[u8]| {
                let mut word = [0; 4];
                word[..bytes.len()].copy_from_slice(bytes);
                u32::from_ne_bytes(word)
            };
            bytes.chunks(4).map(word).collect()
        };
        match self {
            Setting::Text(text) => words(text.as_bytes()),
            Setting::Number(number) => words(&number.to_ne_bytes()),
            Setting::Truth(truth) => words(&[u8::from(*truth)]),
        }
    }

    fn dtype(&self) -> c_int {
        match self {
            Setting::Number(_) => INT32,
            Setting::Text(_) | Setting::Truth(_) => UINT8,
        }
    }

    fn count(&self) -> c_int {
        match self {
            Setting::Text(text) => text.len() as c_int,
            Setting::Number(_) | Setting::Truth(_) => 1,
        }
    }
}

/// A name in the memory that the interface has for one.
fn letters(name: &str) -> [c_char; NAME_BYTES] {
    let mut letters = [0; NAME_BYTES];
    assert!(name.len() < NAME_BYTES, "a short name");
    letters.iter_mut().zip(name.bytes()).for_each(|(to, letter)| *to = letter as c_char);
    letters
}
