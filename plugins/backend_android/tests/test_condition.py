"""What Android's services print, as the temperature and power that measurements are made at."""

import pytest
from mobiprox_backend_android.condition import Condition, parse

PIXEL = """IsStatusOverride: false
ThermalEventListeners:
	callbacks: 2
	killed: false
	broadcasts count: -1
Thermal Status: 2
Cached temperatures:
	Temperature{mValue=61.0, mType=3, mName=VIRTUAL-SKIN, mStatus=0}
HAL Ready: true
HAL connection:
	ThermalHAL AIDL 2  connected: yes
Current temperatures from HAL:
	Temperature{mValue=29.1, mType=2, mName=battery, mStatus=0}
	Temperature{mValue=41.7, mType=3, mName=VIRTUAL-SKIN, mStatus=2}
	Temperature{mValue=-0.5, mType=4, mName=usb, mStatus=0}
Current cooling devices from HAL:
	CoolingDevice{mValue=3, mType=2, mName=thermal-cpufreq-0}
"""
BATTERY = """Current Battery Service state:
  AC powered: false
  USB powered: true
  Wireless powered: false
  Dock powered: false
  Max charging current: 500000
  status: 2
  level: 57
  scale: 100
  voltage: 4012
  temperature: 285
  technology: Li-ion
"""


@pytest.mark.parametrize(
    ("thermal", "battery", "condition"),
    [
        (PIXEL, BATTERY, Condition(41.7, 2, True, 0.57)),
        ("Can't find service: thermalservice\n", BATTERY, Condition(28.5, None, True, 0.57)),
        (PIXEL, BATTERY.replace("USB powered: true", "USB powered: false"), Condition(41.7, 2, False, 0.57)),
        ("", "", Condition()),
        ("Thermal Status: 99\n", "  level: 200\n  scale: 0\n", Condition(None, 6, None, None)),
    ],
    ids=["everything", "before Android 10", "unplugged", "no Android", "nonsense"],
)
def test_the_services_words_are_understood(thermal: str, battery: str, condition: Condition) -> None:
    assert parse(f"{thermal}\nMOBIPROX-BATTERY\n{battery}") == condition


def test_cool_is_neither_throttling_nor_hot_as_far_as_it_is_known() -> None:
    assert Condition().is_cool(30)
    assert Condition(29.0, 0).is_cool(30)
    assert not Condition(31.0, 0).is_cool(30)
    assert not Condition(20.0, 1).is_cool(30)
    assert str(Condition(41.66, 2, True, 0.5)) == "41.7 °C, throttling moderate, charging, battery 50%"
