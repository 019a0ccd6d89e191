//! Out of a network: its tensors, or their keys and shapes.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Gradients, Tensor};

use super::{KeyTable, Weights};

/// Keys and shapes of a network's parameters as the reference stores them; fresh parameters are
/// not created for this.
pub fn shapes_of<M: Module>(module: &M, keys: &KeyTable) -> BTreeMap<String, Vec<usize>> {
    let mut shapes = Shapes { keys, path: Path::default(), found: BTreeMap::new() };
    module.visit(&mut shapes);
    shapes.found
}

/// The dotted path of the parameter being visited.
#[derive(Default)]
pub(super) struct Path {
    pub(super) names: Vec<String>,
    containers: Vec<String>,
}

impl Path {
    pub(super) fn enter(&mut self, name: &str, container: &str) {
        self.names.push(name.into());
        self.containers.push(container.into());
    }

    pub(super) fn exit(&mut self) {
        self.names.pop();
        self.containers.pop();
    }

    /// burn stores the weight of `nn::Linear` as (in, out), the reference as (out, in).
    pub(super) fn is_linear_weight(&self) -> bool {
        let in_linear = self.containers.last().is_some_and(|c| c == "Struct:Linear");
        in_linear && self.names.last().is_some_and(|n| n == "weight")
    }
}

pub(super) struct Saver<'a, F> {
    pub(super) keys: &'a KeyTable,
    pub(super) path: Path,
    pub(super) wanted: F,
    pub(super) gradients: Option<&'a Gradients>,
    pub(super) weights: Weights,
}

impl<F: Fn(&str) -> bool> ModuleVisitor for Saver<'_, F> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let key = self.keys.key(&self.path.names.join("."));
        if !(self.wanted)(&key) {
            return;
        }
        let tensor = match self.gradients {
            None => param.val().without_autodiff(),
            Some(gradients) => match param.val().grad(gradients) {
                Some(gradient) => gradient,
                None => return,
            },
        };
        let tensor = if self.path.is_linear_weight() { tensor.transpose() } else { tensor };
        let shape = tensor.dims().to_vec();
        let values = tensor
            .into_data()
            .convert::<f32>()
            .try_into_vec::<f32>()
            .expect("converted to f32 just above");
        self.weights.insert(key, shape, values);
    }
}

struct Shapes<'a> {
    keys: &'a KeyTable,
    path: Path,
    found: BTreeMap<String, Vec<usize>>,
}

impl ModuleVisitor for Shapes<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let mut shape = param.lazy_shape().as_slice().to_vec();
        if self.path.is_linear_weight() {
            shape.reverse();
        }
        self.found.insert(self.keys.key(&self.path.names.join(".")), shape);
    }
}
