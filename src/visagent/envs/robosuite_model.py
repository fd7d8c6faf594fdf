"""What is changed in robosuite's models before a world is made of them, or drawn."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from visagent.envs.manipulation_looks import ROBOTS

OBJECT_GROUP, UNDRAWN_GROUP = 1, 4
GREY = (0.45, 0.45, 0.48, 1.0)


def prepared(xml: str, drawn: bool, servos: bool) -> str:
    """The model with robots on which gravity does not act and whose first moving links do not touch their bases.

    MuJoCo leaves out contacts of a body with its parent, but not where the parent is fixed to the world: Sawyer's first
    joint would be held by its base.

    Args:
        xml: robosuite's model.
        drawn: keep the meshes that are there to be seen alone: most of a model's memory.
        servos: whether MuJoCo moves the robots; robosuite's controllers bear them, and want them as they are.
    """
    root = ElementTree.fromstring(xml)
    if not drawn:
        without_looks(root)
    if not servos:
        return ElementTree.tostring(root, encoding="unicode")
    contact = root.find("contact")
    if contact is None:
        contact = ElementTree.SubElement(root, "contact")

    def walk(body: ElementTree.Element, fixed: tuple[str, ...]) -> None:
        name = body.get("name", "")
        if name.startswith(("robot", "gripper")):
            body.set("gravcomp", "1")
            if body.find("joint") is not None:
                for base in fixed:
                    ElementTree.SubElement(contact, "exclude", body1=base, body2=name)
                fixed = ()
            elif fixed or "_base" in name:
                fixed = (*fixed, name)
        for child in body.findall("body"):
            walk(child, fixed)

    for body in root.findall("worldbody/body"):
        walk(body, ())
    return ElementTree.tostring(root, encoding="unicode")


def without_looks(root: ElementTree.Element) -> None:
    """Make meshes that touch nothing grains of sand; they keep their names, which robosuite asks for."""
    for geom in root.iter("geom"):
        if geom.get("type") == "mesh" and geom.get("contype") == "0" and geom.get("conaffinity") == "0":
            del geom.attrib["mesh"]
            geom.set("type", "sphere")
            geom.set("size", "0.001")
    used = {geom.get("mesh") for geom in root.iter("geom")}
    assets = root.find("asset")
    for mesh in [] if assets is None else assets.findall("mesh"):
        if mesh.get("name") not in used:
            assets.remove(mesh)  # type: ignore[union-attr]


def simplify(model: Any) -> None:
    """Show robots by their collision shapes: a tenth of the faces."""
    for geom in range(model.ngeom):
        body = model.body(model.geom_bodyid[geom]).name
        if not body.startswith(ROBOTS):
            continue
        if model.geom_group[geom] == 0:
            model.geom_group[geom], model.geom_matid[geom], model.geom_rgba[geom] = OBJECT_GROUP, -1, GREY
        else:
            model.geom_group[geom] = UNDRAWN_GROUP
