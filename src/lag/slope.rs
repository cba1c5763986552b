//! How fast something changes, by a median, so that no single point decides.

/// Newest pairs looked at.
const MOST: usize = 64;

/// Median slope over pairs half the series apart, in units per millisecond: as robust as over all pairs (Theil and Sen),
/// and cheap. Points are (milliseconds, value), oldest first; 0 with fewer than two.
pub fn median_slope<T>(items: &[T], point: impl Fn(&T) -> (i64, i64)) -> f64 {
    let items = &items[items.len().saturating_sub(2 * MOST)..];
    let half = items.len().div_ceil(2);
    let mut slopes = [0.0f64; MOST];
    let mut count = 0;
    for (earlier, later) in items.iter().zip(&items[half..]) {
        let ((from_ms, from), (until_ms, until)) = (point(earlier), point(later));
        slopes[count] = until.saturating_sub(from) as f64 / until_ms.saturating_sub(from_ms).max(1) as f64;
        count += 1;
    }
    let slopes = &mut slopes[..count];
    slopes.sort_unstable_by(f64::total_cmp);
    let middle = count / 2;
    match count {
        0 => 0.0,
        _ if count % 2 == 1 => slopes[middle],
        _ => (slopes[middle - 1] + slopes[middle]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_slope_and_an_outlier_none() {
        let of = |points: &[(i64, i64)]| median_slope(points, |point| *point);
        let line: Vec<(i64, i64)> = (0..301).map(|n| (n * 10, 7 * n)).collect();
        assert!((of(&line) - 0.7).abs() < 1e-9);
        assert_eq!(of(&[(0, 0), (10, 0), (20, 900), (30, 0), (40, 0), (50, 0), (60, 0)]), 0.0);
        assert_eq!(of(&line[..1]), 0.0);
        assert_eq!(of(&[]), 0.0);
    }
}
