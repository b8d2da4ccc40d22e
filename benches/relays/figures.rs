/// A goal, and what was measured for it.
pub struct Figure {
    name: &'static str,
    unit: &'static str,
    goal: f64,
    values: Vec<f64>,
}

impl Figure {
    /// The median has to be below the goal.
    pub fn new(name: &'static str, goal: f64, unit: &'static str) -> Self {
        Self {
            name,
            unit,
            goal,
            values: Vec::new(),
        }
    }

    pub fn add(&mut self, value: f64) {
        self.values.push(value);
        self.values.sort_by(f64::total_cmp);
    }

    /// Prints its row of the table.
    pub fn print(&self) {
        let Self {
            name, unit, goal, ..
        } = self;
        let [least, median, most] = [0, self.values.len() / 2, self.values.len() - 1];
        let [least, median, most] = [least, median, most].map(|at| self.values[at]);
        let verdict = if median < *goal { "met" } else { "MISSED" };
        println!(
            "| {name} | {median:.2} {unit} | {least:.2}-{most:.2} | < {goal} {unit} | {verdict} |"
        );
    }

    pub fn print_head() {
        println!("| measured | median | range | goal | |");
        println!("|---|---|---|---|---|");
    }
}
