//! Which columns of two tables can be compared, and as values of which type.

use std::collections::BTreeSet;

use super::DriftError;
use super::canon::Type;
use super::shape::{Column, Shape};
use super::table::Table;

/// Both in the order of the first one's columns.
pub fn align(first: &mut dyn Table, second: &mut dyn Table) -> Result<Shape, DriftError> {
    let (ours, theirs) = (first.shape().clone(), second.shape().clone());
    let names = |shape: &Shape| shape.keys.iter().map(|key| key.name.clone()).collect::<BTreeSet<_>>();
    if names(&ours) != names(&theirs) {
        return Err(DriftError::Pair("the tables have different keys; name the columns of both with key=…".to_owned()));
    }
    let is_absent = |column: &&Column| ours.columns().all(|ours| ours.name != column.name);
    if let Some(more) = theirs.values.iter().find(is_absent) {
        return Err(absent(first, &more.name));
    }
    let mut shape = ours;
    for column in shape.keys.iter_mut().chain(&mut shape.values) {
        let Some(other) = theirs.columns().find(|theirs| theirs.name == column.name) else {
            return Err(absent(second, &column.name));
        };
        column.ty = agreed(first, column, second, other).ok_or_else(|| apart(first, column, second, other))?;
    }
    first.arrange(&shape);
    second.arrange(&shape);
    Ok(shape)
}

fn agreed(first: &dyn Table, ours: &Column, second: &dyn Table, theirs: &Column) -> Option<Type> {
    if let Some(ty) = common(ours.ty, theirs.ty) {
        return Some(ty);
    }
    if second.prints(&theirs.name, ours.ty) {
        return Some(ours.ty);
    }
    first.prints(&ours.name, theirs.ty).then_some(theirs.ty)
}

/// A type of which both are, as far as texts go: a value of the one that the other can hold has the same text there.
fn common(ours: Type, theirs: Type) -> Option<Type> {
    use Type::{Decimal, Instant, Integer, Padded, Text, Time, Timestamp};
    Some(match (ours, theirs) {
        _ if ours == theirs => ours,
        (Integer, Decimal(Some(0))) | (Decimal(Some(0)), Integer) => Integer,
        // A padded text is read without its blanks: the other one must have none.
        (Text, Padded) | (Padded, Text) => Text,
        // Digits of a second that one side cannot hold are a difference where the other has them.
        (Time(a), Time(b)) => Time(a.max(b)),
        (Timestamp(a), Timestamp(b)) => Timestamp(a.max(b)),
        (Instant(a), Instant(b)) => Instant(a.max(b)),
        _ => return None,
    })
}

fn absent(table: &dyn Table, column: &str) -> DriftError {
    DriftError::Pair(format!("{} has no column \"{column}\"; leave it out with --ignore {column}", table.name()))
}

fn apart(first: &dyn Table, ours: &Column, second: &dyn Table, theirs: &Column) -> DriftError {
    let (name, ty) = (&ours.name, ours.ty);
    DriftError::Pair(format!(
        "column \"{name}\" is {ty} in {} and {} in {}: their texts differ always; leave it out with --ignore {name}",
        first.name(),
        theirs.ty,
        second.name()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_whose_texts_are_the_same_are_compared() {
        use Type::*;
        for (ours, theirs, ty) in [
            (Text, Text, Some(Text)),
            (Text, Padded, Some(Text)),
            (Decimal(Some(0)), Integer, Some(Integer)),
            (Timestamp(0), Timestamp(6), Some(Timestamp(6))),
            (Timestamp(6), Instant(6), None),
            (Decimal(Some(2)), Decimal(Some(4)), None),
            (Decimal(None), Decimal(Some(2)), None),
            (Single, Double, None),
            (Integer, Bool, None),
            (Uuid, Text, None),
        ] {
            assert_eq!(common(ours, theirs), ty, "{ours:?} {theirs:?}");
            assert_eq!(common(theirs, ours), ty, "{theirs:?} {ours:?}");
        }
    }
}
