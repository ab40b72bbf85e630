//! Model of a chart: panels, their series and axes.

/// Panels that are compared with one another.
pub struct Chart {
    /// Title above all of them.
    pub title: String,
    /// Panels beside one another.
    pub columns: usize,
    /// From left to right, then down.
    pub panels: Vec<Panel>,
    /// Notes that a reader must know, in small letters below.
    pub notes: Vec<String>,
}

/// One pair of axes.
pub struct Panel {
    /// Title above it.
    pub title: String,
    /// Quantity on the x axis.
    pub x_name: String,
    /// The x axis.
    pub x: XAxis,
    /// Quantity on the y axis.
    pub y_name: String,
    /// Ends of the y axis; those of the series where there is nothing better.
    pub range: Option<(f64, f64)>,
    /// Series between the axes.
    pub series: Vec<Series>,
    /// Reference lines.
    pub references: Vec<ReferenceLine>,
}

/// An x axis.
#[derive(Clone, Debug, PartialEq)]
pub enum XAxis {
    /// From zero on, with round numbers below.
    Linear,
    /// These values and no others, which are named below it; logarithmic where they span more than
    /// a factor of eight.
    Values(Vec<f64>),
}

/// One line of a chart.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// Name in the legend; a series without a label belongs to another of its color. Series of
    /// different panels that have the same label are in the legend once.
    pub label: Option<String>,
    /// Position among the things that are compared: decides color and dashes.
    pub index: usize,
    /// From left to right.
    pub points: Vec<(f64, f64)>,
    /// Interval around its points: `(x, low, high)`.
    pub spread: Vec<(f64, f64, f64)>,
    /// Its look.
    pub style: SeriesStyle,
}

/// Look of a series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SeriesStyle {
    /// A curve; its spread is a band.
    #[default]
    Curve,
    /// Few points, which are marked; their spreads are bars.
    Marked,
    /// A thin curve that ends in a cross: it ended before it should.
    CutOff,
}

/// A horizontal reference line.
#[derive(Clone, Debug, PartialEq)]
pub struct ReferenceLine {
    /// Name in the legend.
    pub label: String,
    /// Height on the y axis.
    pub y: f64,
}
