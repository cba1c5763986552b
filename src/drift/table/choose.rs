//! Which of a table's columns are compared, and by which of them its rows are told apart.

use super::Chosen;
use crate::drift::canon::Type;
use crate::drift::shape::Column;

/// A column as the catalogue has it.
pub struct Found<C> {
    pub name: String,
    pub is_nullable: bool,
    /// How its values are compared, and what else its store knows of it; `None` when they cannot be compared.
    pub known: Option<(Type, C)>,
}

/// Columns of the key and columns beside it, each with what its store knows of it.
pub struct Picked<C> {
    pub keys: Vec<(Column, C)>,
    pub values: Vec<(Column, C)>,
}

/// What is wrong with a table, and what to do about it.
pub type Refusal = (String, String);

pub fn choose<C: Clone>(found: &[Found<C>], key: &[String], chosen: &Chosen) -> Result<Picked<C>, Refusal> {
    for name in key.iter().chain(&chosen.only).chain(&chosen.ignored) {
        if found.iter().all(|column| column.name != *name) {
            let known: Vec<&str> = found.iter().map(|column| column.name.as_str()).collect();
            return Err((format!("the table has no column \"{name}\""), format!("it has {}", known.join(", "))));
        }
    }
    let mut picked = Picked { keys: Vec::new(), values: Vec::new() };
    for column in found {
        let name = &column.name;
        let is_wanted = (chosen.only.is_empty() || chosen.only.contains(name)) && !chosen.ignored.contains(name);
        if is_wanted && !key.contains(name) {
            picked.values.push(described(column)?);
        }
    }
    for name in key {
        let Some(column) = found.iter().find(|column| column.name == *name) else { continue };
        if column.is_nullable {
            let why = format!("the key's column \"{name}\" may be null");
            return Err((why, "choose columns that are never null with key=…".to_owned()));
        }
        picked.keys.push(described(column)?);
    }
    Ok(picked)
}

fn described<C: Clone>(column: &Found<C>) -> Result<(Column, C), Refusal> {
    let name = &column.name;
    let Some((ty, known)) = column.known.clone() else {
        let why = format!("column \"{name}\" is of a type whose values sordini cannot compare exactly");
        return Err((why, format!("leave it out with --ignore {name}")));
    };
    Ok((Column { name: name.clone(), ty, is_nullable: column.is_nullable }, known))
}

/// What a table without a key is told.
pub fn keyless() -> Refusal {
    let why = "the table has no primary key and no unique index over columns that are never null";
    (why.to_owned(), "name the columns that tell its rows apart with key=COLUMN[,COLUMN]".to_owned())
}
