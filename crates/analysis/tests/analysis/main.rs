//! Analyses of small images: what is counted, and which causes are found.

mod causes;
mod counts;
mod images;
