//! Which actions are possible next in a task, and every order they allow.

use super::{Action, Task};

/// The actions possible after `done`; empty when the task is finished.
pub fn next(task: Task, done: &[Action]) -> Vec<Action> {
    use Action::*;
    let has = |action: Action| done.contains(&action);
    let count = |action: Action| done.iter().filter(|&&a| a == action).count();
    let mut open = Vec::new();
    let mut may = |action: Action, ready: bool| {
        if ready && !has(action) {
            open.push(action);
        }
    };
    match task {
        Task::Airplane | Task::Boat => {
            // Both begin with the same four folds, in any order that paper allows.
            may(FoldLeftCorner, true);
            may(FoldRightCorner, true);
            may(FoldLeftEdge, has(FoldLeftCorner));
            may(FoldRightEdge, has(FoldRightCorner));
            let dart = has(FoldLeftEdge) && has(FoldRightEdge);
            if task == Task::Airplane {
                let halved = has(HalveToLeft) || has(HalveToRight);
                may(HalveToLeft, dart && !halved);
                may(HalveToRight, dart && !halved);
                may(FoldFrontWing, halved);
                may(FoldRearWing, halved);
            } else {
                may(FoldBottomBehind, true);
                may(FoldHullUp, dart && has(FoldBottomBehind));
                let flag = has(FoldTipLeft) || has(FoldTipRight);
                may(FoldTipLeft, dart && !flag);
                may(FoldTipRight, dart && !flag);
            }
        }
        Task::Tower => {
            let (left, right) = (count(StackFromLeft), count(StackFromRight));
            if left < 2 {
                open.push(StackFromLeft);
            }
            if right < 2 {
                open.push(StackFromRight);
            }
            if left + right == 4 && !has(PlaceRoof) {
                open.push(PlaceRoof);
            }
        }
        Task::Horse => {
            may(PlaceHindLeg, true);
            may(PlaceFrontLeg, true);
            may(PlaceHorseBody, has(PlaceHindLeg) && has(PlaceFrontLeg));
            may(PlaceNeck, has(PlaceHorseBody));
            may(PlaceTail, has(PlaceHorseBody));
            may(PlaceHorseHead, has(PlaceNeck));
        }
        Task::Person => {
            may(PlaceLeftLeg, true);
            may(PlaceRightLeg, true);
            may(PlaceTorso, has(PlaceLeftLeg) && has(PlaceRightLeg));
            may(PlaceLeftArm, has(PlaceTorso));
            may(PlaceRightArm, has(PlaceTorso));
            may(PlaceHead, has(PlaceTorso));
        }
    }
    open
}

/// Every order in which a task can be done.
#[cfg(test)]
pub fn orders(task: Task) -> Vec<Vec<Action>> {
    let mut finished = Vec::new();
    let mut open = vec![Vec::new()];
    while let Some(done) = open.pop() {
        let following = next(task, &done);
        if following.is_empty() {
            finished.push(done);
            continue;
        }
        for action in following {
            let mut longer = done.clone();
            longer.push(action);
            open.push(longer);
        }
    }
    finished
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_has_choices_and_its_number_of_steps() {
        for task in Task::ALL {
            let orders = orders(task);
            let steps = match task {
                Task::Airplane | Task::Boat => 7,
                Task::Tower => 5,
                Task::Horse | Task::Person => 6,
            };
            assert!(orders.len() >= 6, "{task:?} has {} orders", orders.len());
            assert!(orders.iter().all(|order| order.len() == steps));
        }
    }
}
