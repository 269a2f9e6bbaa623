pub fn x(){}
pub mod backend;
pub mod runtime;
