//! Middles and slopes that a few wild samples do not move.

use super::Point;

/// The middle number; 0 of none.
pub(super) fn median(mut numbers: Vec<f64>) -> f64 {
    if numbers.is_empty() {
        return 0.0;
    }
    let middle = numbers.len() / 2;
    *numbers.select_nth_unstable_by(middle, f64::total_cmp).1
}

/// The median distance from the median, scaled to be a standard deviation where the numbers are normal.
pub(super) fn spread(numbers: &[f64]) -> f64 {
    let middle = median(numbers.to_vec());
    1.4826 * median(numbers.iter().map(|number| (number - middle).abs()).collect())
}

/// The median of the slopes between any two of at most 40 points, evenly chosen in time (Theil 1950, Sen 1968); 0 of fewer
/// than two.
pub(super) fn slope(points: &[Point]) -> f64 {
    const MOST: usize = 40;
    let [first, .., last] = points else { return 0.0 };
    let step = (last.at - first.at) / (MOST - 1) as f64;
    let mut chosen = vec![first];
    for point in points {
        if point.at > first.at && point.at >= first.at + chosen.len() as f64 * step * 0.999_999 {
            chosen.push(point);
        }
    }
    let mut slopes = Vec::with_capacity(MOST * MOST / 2);
    for (index, a) in chosen.iter().enumerate() {
        for b in &chosen[index + 1..] {
            slopes.push((b.used - a.used) / (b.at - a.at));
        }
    }
    median(slopes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wild_ones_do_not_move_them() {
        assert_eq!(median(vec![]), 0.0);
        assert_eq!(median(vec![1.0, 2.0, 1e9]), 2.0);
        assert!((spread(&[1.0, 2.0, 3.0, 4.0, 1e9]) - 1.4826).abs() < 1e-9);
        let point = |i: usize| Point { at: i as f64, used: if i % 10 == 3 { 1e6 } else { 7.0 * i as f64 } };
        let points: Vec<Point> = (0..200).map(point).collect();
        assert!((slope(&points) - 7.0).abs() < 0.5, "{}", slope(&points));
        assert_eq!(slope(&points[..1]), 0.0);
    }
}
