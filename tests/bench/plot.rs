//! Diagrams: one line for each way, against the number of networks, both axes logarithmic.
//!
//! In: figures. Out: an SVG file.

use std::path::Path;

use anyhow::{Context as _, Result};
use plotters::prelude::*;

/// A way, and its figures by number of networks.
pub(crate) type Line = (String, Vec<(f64, f64)>);

const SIZE: (u32, u32) = (760, 420);

/// One for each line.
const COLOURS: [RGBColor; 5] = [
    RGBColor(0x1f, 0x4e, 0x9c),
    RGBColor(0xc4, 0x3c, 0x2b),
    RGBColor(0x2e, 0x7d, 0x32),
    RGBColor(0x6a, 0x1b, 0x9a),
    RGBColor(0xb2, 0x6a, 0x00),
];

/// Draws the lines; `unit` is that of the figures.
pub(crate) fn draw(path: &Path, title: &str, unit: &str, lines: &[Line]) -> Result<()> {
    let all = || lines.iter().flat_map(|(_, figures)| figures);
    let span = |of: fn(&(f64, f64)) -> f64| {
        let low = all().map(of).fold(f64::INFINITY, f64::min);
        let high = all().map(of).fold(0.0, f64::max);
        low / 1.3..high * 1.3
    };
    let drawing = SVGBackend::new(path, SIZE).into_drawing_area();
    let context = || format!("draw {}", path.display());
    drawing.fill(&WHITE).with_context(context)?;
    let mut chart = ChartBuilder::on(&drawing)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d(span(|it| it.0).log_scale(), span(|it| it.1).log_scale())
        .with_context(context)?;
    chart
        .configure_mesh()
        .x_desc("networks")
        .y_desc(unit)
        .x_label_formatter(&|number| format!("{number:.0}"))
        .y_label_formatter(&|number| {
            if *number < 1.0 { format!("{number:.1}") } else { format!("{number:.0}") }
        })
        .light_line_style(WHITE)
        .draw()
        .with_context(context)?;
    for ((name, figures), colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        chart
            .draw_series(LineSeries::new(figures.iter().copied(), colour.stroke_width(2)).point_size(3))
            .with_context(context)?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()
        .with_context(context)?;
    drawing.present().with_context(context)
}
