//! The instructions of pickles that build data. All others are refused, and all memory is counted.

use std::collections::HashMap;
use std::sync::Arc;

use super::Refusal;
use super::objects::{self, Global, Id, Node};
use super::pickle::Unpickled;

/// A network of ten thousand tensors needs half a million.
const MAX_INSTRUCTIONS: usize = 4_000_000;
const MAX_MARKS: usize = 256;
const MAX_ARGUMENTS: usize = 16;
/// Bytes of the name of a module or class.
const MAX_NAME: usize = 512;
/// Whole numbers up to 128 bits.
const MAX_LONG: usize = 16;
const MAX_MEMORY: usize = 128 << 20;
/// What one node, memo entry or reference takes, roughly.
const NODE_BYTES: usize = 128;
const MEMO_BYTES: usize = 32;
const ID_BYTES: usize = size_of::<Id>();

/// Runs one pickle.
pub(super) struct Machine<'a> {
    input: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    memory: usize,
    /// Whether pickled tensors may hold pickles of their own.
    pub(super) may_nest: bool,
}

impl<'a> Machine<'a> {
    /// The result of the pickle at the beginning of `input`, and how many bytes it had.
    pub(super) fn run(input: &'a [u8], may_nest: bool) -> Result<(Unpickled, usize), Refusal> {
        let mut machine = Self {
            input,
            at: 0,
            nodes: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            memory: 0,
            may_nest,
        };
        for _ in 0..MAX_INSTRUCTIONS {
            if let Some(root) = machine.step()? {
                return Ok((Unpickled { nodes: machine.nodes, root }, machine.at));
            }
        }
        let limit = MAX_INSTRUCTIONS as u64;
        Err(Refusal::TooMuch { what: "the number of instructions in its pickle", limit })
    }

    /// One instruction; the result when it was the last.
    fn step(&mut self) -> Result<Option<Id>, Refusal> {
        let at = self.at;
        let code = self.take(1)?[0];
        match code {
            b'.' => return self.pop().map(Some),
            // Protocol and frame: nothing to do.
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),

            b'N' => self.push(Node::None)?,
            0x88 => self.push(Node::Bool(true))?,
            0x89 => self.push(Node::Bool(false))?,
            b'J' => {
                let word = self.array::<4>()?;
                self.push(Node::Int(i32::from_le_bytes(word).into()))?;
            }
            b'K' | b'M' => {
                let value = self.number(if code == b'K' { 1 } else { 2 })?;
                self.push(Node::Int(value as i128))?;
            }
            0x8a | 0x8b => {
                let len = self.number(if code == 0x8a { 1 } else { 4 })?;
                if len > MAX_LONG {
                    let limit = MAX_LONG as u64;
                    let what = "a whole number in its pickle, in bytes,";
                    return Err(Refusal::TooMuch { what, limit });
                }
                let value = signed(self.take(len)?);
                self.push(Node::Int(value))?;
            }
            b'G' => {
                let word = self.array::<8>()?;
                self.push(Node::Float(f64::from_be_bytes(word)))?;
            }
            b'X' => self.text(4)?,
            0x8c => self.text(1)?,
            0x8d => self.text(8)?,
            b'B' | 0x8e | 0x96 | b'C' => {
                let width = match code {
                    b'C' => 1,
                    b'B' => 4,
                    _ => 8,
                };
                let len = self.number(width)?;
                let bytes = self.take(len)?;
                self.charge(len)?;
                self.push(Node::Bytes(Arc::from(bytes)))?;
            }

            b']' => self.push(Node::List(Vec::new()))?,
            b')' => self.push(Node::Tuple(Vec::new()))?,
            b'}' => self.push(Node::Dict(Vec::new()))?,
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.pop_marked()?;
                self.append(items)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.insert(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_marked()?;
                self.insert(&items)?;
            }
            b't' | b'l' => {
                let items = self.pop_marked()?;
                self.charge(ID_BYTES * items.len())?;
                let node = if code == b't' { Node::Tuple(items) } else { Node::List(items) };
                self.push(node)?;
            }
            0x85..=0x87 => {
                let mut items = vec![Id(0); usize::from(code - 0x84)];
                for item in items.iter_mut().rev() {
                    *item = self.pop()?;
                }
                self.push(Node::Tuple(items))?;
            }
            b'd' => {
                let items = self.pop_marked()?;
                self.push(Node::Dict(Vec::new()))?;
                self.insert(&items)?;
            }

            b'(' => {
                if self.marks.len() == MAX_MARKS {
                    return Err(Refusal::Depth(MAX_MARKS));
                }
                self.marks.push(self.stack.len());
            }
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_marked()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'q' | b'r' | 0x94 => {
                let index = match code {
                    b'q' => self.number(1)?,
                    b'r' => self.number(4)?,
                    _ => self.memo.len(),
                };
                let index = u32::try_from(index).expect("read from at most four bytes");
                let top = self.top()?;
                self.charge(MEMO_BYTES)?;
                self.memo.insert(index, top);
            }
            b'h' | b'j' => {
                let index = self.number(if code == b'h' { 1 } else { 4 })?;
                let index = u32::try_from(index).expect("read from at most four bytes");
                let known = self.memo.get(&index).copied();
                self.stack
                    .push(known.ok_or_else(|| self.damaged("it recalls what it never kept"))?);
            }

            b'c' => {
                let module = self.line()?;
                let name = self.line()?;
                self.global(&module, &name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Node::Text(module), Node::Text(name)) = (self.node(module), self.node(name))
                else {
                    return Err(self.damaged("a class without a name"));
                };
                let (module, name) = (module.clone(), name.clone());
                self.global(&module, &name)?;
            }
            b'R' | 0x81 => {
                let arguments = self.pop()?;
                let called = self.pop()?;
                let (Node::Global(global), Node::Tuple(arguments)) =
                    (self.node(called), self.node(arguments))
                else {
                    return Err(self.damaged("it calls what is no class"));
                };
                if arguments.len() > MAX_ARGUMENTS {
                    return Err(self.damaged("a call with too many arguments"));
                }
                let (global, arguments) = (*global, arguments.clone());
                let made = objects::call(self, global, &arguments)?;
                self.stack.push(made);
            }
            b'b' => {
                let state = self.pop()?;
                let object = self.top()?;
                objects::build(self, object, state)?;
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = objects::storage(self, id)?;
                self.push(storage)?;
            }
            code => return Err(Refusal::Instruction { at, code }),
        }
        Ok(None)
    }

    pub(super) fn node(&self, id: Id) -> &Node {
        &self.nodes[id.0]
    }

    pub(super) fn node_mut(&mut self, id: Id) -> &mut Node {
        &mut self.nodes[id.0]
    }

    /// Keeps a node without putting it on the stack.
    pub(super) fn add(&mut self, node: Node) -> Result<Id, Refusal> {
        self.charge(NODE_BYTES)?;
        self.nodes.push(node);
        Ok(Id(self.nodes.len() - 1))
    }

    /// Counts memory about to be taken.
    pub(super) fn charge(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.memory = self.memory.saturating_add(bytes);
        if self.memory > MAX_MEMORY {
            let limit = MAX_MEMORY as u64;
            return Err(Refusal::TooMuch { what: "what its pickle builds", limit });
        }
        Ok(())
    }

    fn push(&mut self, node: Node) -> Result<(), Refusal> {
        let id = self.add(node)?;
        self.stack.push(id);
        Ok(())
    }

    fn damaged(&self, what: &'static str) -> Refusal {
        Refusal::Pickle { at: self.at, what }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Refusal> {
        let end = self.at.checked_add(len);
        let bytes = end.and_then(|end| self.input.get(self.at..end));
        let bytes = bytes.ok_or_else(|| self.damaged("it ends too early"))?;
        self.at += len;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        Ok(self.take(N)?.try_into().expect("as many bytes as asked for"))
    }

    /// An unsigned number of up to eight bytes.
    fn number(&mut self, bytes: usize) -> Result<usize, Refusal> {
        let mut word = [0; 8];
        word[..bytes].copy_from_slice(self.take(bytes)?);
        usize::try_from(u64::from_le_bytes(word)).map_err(|_| self.damaged("it ends too early"))
    }

    fn text(&mut self, width: usize) -> Result<(), Refusal> {
        let len = self.number(width)?;
        if len > self.input.len() {
            return Err(self.damaged("it ends too early"));
        }
        let text = str::from_utf8(self.take(len)?);
        let text = text.map_err(|_| self.damaged("a text that is not UTF-8"))?.to_owned();
        self.charge(len)?;
        self.push(Node::Text(text))
    }

    fn line(&mut self) -> Result<String, Refusal> {
        let rest = &self.input[self.at..];
        let len = rest.iter().take(MAX_NAME).position(|byte| *byte == b'\n');
        let len = len.ok_or_else(|| self.damaged("a name without an end"))?;
        let text = str::from_utf8(self.take(len)?);
        let text = text.map_err(|_| self.damaged("a name that is not UTF-8"))?.to_owned();
        self.at += 1;
        Ok(text)
    }

    fn global(&mut self, module: &str, name: &str) -> Result<(), Refusal> {
        let global = Global::named(module, name);
        let node = Node::Global(global.ok_or_else(|| {
            let shown =
                |text: &str| text.chars().take(80).collect::<String>().escape_debug().to_string();
            Refusal::Global(format!("{}.{}", shown(module), shown(name)))
        })?);
        self.push(node)
    }

    /// What an instruction may take from the stack begins behind the last mark.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Id, Refusal> {
        let top = self.stack[self.floor()..].last().copied();
        top.ok_or_else(|| self.damaged("it takes what is not there"))
    }

    fn pop(&mut self) -> Result<Id, Refusal> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_marked(&mut self) -> Result<Vec<Id>, Refusal> {
        let mark = self.marks.pop().ok_or_else(|| self.damaged("a mark is missing"))?;
        Ok(self.stack.split_off(mark))
    }

    fn append(&mut self, items: Vec<Id>) -> Result<(), Refusal> {
        self.charge(ID_BYTES * items.len())?;
        let list = self.top()?;
        match self.node_mut(list) {
            Node::List(list) => list.extend(items),
            _ => return Err(self.damaged("it appends to what is no list")),
        }
        Ok(())
    }

    fn insert(&mut self, items: &[Id]) -> Result<(), Refusal> {
        self.charge(ID_BYTES * items.len())?;
        let (pairs, []) = items.as_chunks::<2>() else {
            return Err(self.damaged("a key without a value"));
        };
        let dict = self.top()?;
        match self.node_mut(dict) {
            Node::Dict(dict) => dict.extend(pairs.iter().map(|[key, value]| (*key, *value))),
            _ => return Err(self.damaged("it puts keys into what is no dictionary")),
        }
        Ok(())
    }
}

/// Little-endian two's complement of up to [`MAX_LONG`] bytes.
fn signed(bytes: &[u8]) -> i128 {
    let negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
    let mut word = [if negative { 0xff } else { 0 }; MAX_LONG];
    word[..bytes.len()].copy_from_slice(bytes);
    i128::from_le_bytes(word)
}
