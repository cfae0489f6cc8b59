//! Tables for people: columns as wide as they need to be, numbers to the right.

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its title.
    pub title: &'static str,
    /// Whether its cells stand to the right.
    pub right: bool,
}

/// Lays out rows under their titles, two spaces between columns.
pub fn table(columns: &[Column], rows: &[Vec<String>]) -> String {
    let width = |index: usize| {
        let cells = rows.iter().filter_map(|row| row.get(index)).map(|cell| cell.chars().count());
        cells.chain([columns[index].title.len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let titles: Vec<String> = columns.iter().map(|column| column.title.to_owned()).collect();
    let mut text = String::new();
    for row in std::iter::once(&titles).chain(rows) {
        let mut line = String::new();
        for ((cell, column), width) in row.iter().zip(columns).zip(&widths) {
            let cell = if column.right { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
            line.push_str(&cell);
            line.push_str("  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A size as people write it: `1.2 MiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A time span as people write it: `12s`, `3m10s`, `5h02m`, `3d4h`.
pub fn seconds(count: f64) -> String {
    let whole = count as u64;
    match whole {
        0 if count > 0.0 => format!("{:.0}ms", count * 1000.0),
        0..60 => format!("{whole}s"),
        60..3600 => format!("{}m{:02}s", whole / 60, whole % 60),
        3600..86_400 => format!("{}h{:02}m", whole / 3600, whole % 3600 / 60),
        _ => format!("{}d{}h", whole / 86_400, whole % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let columns = [Column { title: "NAME", right: false }, Column { title: "N", right: true }];
        let rows = [vec!["a".to_owned(), "1000".to_owned()], vec!["longer".to_owned(), "1".to_owned()]];
        assert_eq!(table(&columns, &rows), "NAME       N\na       1000\nlonger     1\n");
    }

    #[test]
    fn sizes_and_times_are_short() {
        assert_eq!(
            [0, 1023, 1024, 1_048_575, 5 << 30].map(bytes),
            ["0 B", "1023 B", "1.0 KiB", "1.0 MiB", "5.0 GiB"]
        );
        assert_eq!(
            [0.0, 0.25, 59.0, 190.0, 18_120.0, 273_600.0].map(seconds),
            ["0s", "250ms", "59s", "3m10s", "5h02m", "3d4h"]
        );
    }
}
